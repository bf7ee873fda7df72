"""From boards to the JSON that Grafana reads: the classic model, of Grafana 10 and later."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any

from model import INSTANCE, JOB, Board, Panel, Query, Row, Variable, expanded

Json = dict[str, Any]

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_GREEN, _RED, _BLUE = "green", "red", "blue"

#: Vertical lines in every plot: the value of the series is the time that they stand at.
_EVENTS = (
    ("Reloads", _BLUE, 'gunicorn_master_last_signal_timestamp_seconds{HERE, reason="hup"}'),
    (
        "Workers that failed",
        _RED,
        'gunicorn_worker_last_exit_timestamp_seconds{HERE, cause!~"reload|scale_down|shutdown|exit|'
        'max_requests"}',
    ),
)


def dashboard(board: Board) -> Json:
    """The whole of it."""
    variables = (JOB, INSTANCE, *board.variables)
    return {
        "uid": f"gunicorn-{board.name}",
        "title": f"Gunicorn / {board.title}",
        "description": board.description,
        "tags": ["gunicorn"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [_link_to_the_others()],
        "annotations": {"list": [_annotation(*event) for event in _EVENTS]},
        "templating": {"list": [_choice_of_datasource(), *map(_variable, variables)]},
        "panels": list(_panels(board.rows)),
    }


def _link_to_the_others() -> Json:
    return {
        "type": "dashboards",
        "title": "Gunicorn",
        "tags": ["gunicorn"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
    }


def _annotation(name: str, colour: str, series: str) -> Json:
    label = "reason" if "reason=" in series else "cause"
    return {
        "name": name,
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "useValueForTime": True,
        "titleFormat": f"{{{{{label}}}}}: {{{{instance}}}}",
        "target": {"refId": "Anno", "expr": expanded(f"{series} * 1000")},
    }


def _choice_of_datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
    }


def _variable(variable: Variable) -> Json:
    query = f"label_values({expanded(variable.series)}, {variable.of})"
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.label,
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,  # when the time range changes
        "sort": 3 if variable.of == "worker_id" else 1,  # by number, by letters
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


# Panels and where they stand


def _panels(rows: tuple[Row, ...]) -> Iterator[Json]:
    number, y = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": place,
            "panels": [],
        }
        y += 1
        x = 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y = 0, y + panel.height
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            x += panel.width
        y += row.panels[-1].height


def _panel(panel: Panel) -> Json:
    needs = f" Empty without {panel.needs}." if panel.needs else ""
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description + needs,
        "datasource": _DATASOURCE,
        "targets": list(map(_target, [panel] * len(panel.queries), panel.queries, ascii_uppercase)),
        **_LOOKS[panel.kind](panel),
    }


def _target(panel: Panel, query: Query, letter: str) -> Json:
    at_once = panel.kind in ("table", "stat")
    forms = {"table": "table", "heatmap": "heatmap"}
    return {
        "refId": letter,
        "datasource": _DATASOURCE,
        "expr": expanded(query.expr),
        "legendFormat": query.legend,
        "format": forms.get(panel.kind, "time_series"),
        # A number has a small plot behind it, a table is of one moment.
        "instant": panel.kind == "table",
        "range": panel.kind != "table",
        "editorMode": "code",
        **(
            {} if at_once else {"exemplar": panel.kind == "timeseries" and "_bucket{" in query.expr}
        ),
    }


# What each kind looks like


def _defaults(panel: Panel) -> Json:
    steps: list[Json] = [{"color": _GREEN, "value": None}]
    steps += ({"color": colour, "value": value} for value, colour in panel.thresholds)
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.most is not None:
        defaults["max"] = panel.most
    return defaults


_LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
_TOOLTIP = {"mode": "multi", "sort": "desc"}


def _timeseries(panel: Panel) -> Json:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
    }
    defaults = {"min": 0, "color": {"mode": "palette-classic"}, "custom": custom}
    return {
        "fieldConfig": {"defaults": _defaults(panel) | defaults, "overrides": []},
        "options": {"legend": _LEGEND, "tooltip": _TOOLTIP},
    }


def _stat(panel: Panel) -> Json:
    return {
        "fieldConfig": {
            "defaults": _defaults(panel) | {"color": {"mode": "thresholds"}},
            "overrides": [],
        },
        "options": {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def _table(panel: Panel) -> Json:
    by_name = {"id": "byName"}
    # As the data source calls what it gives.
    named = [f"Value #{letter}" for letter in ascii_uppercase] if panel.queries[1:] else ["Value"]
    legends = (query.legend for query in panel.queries)
    columns = dict(zip(named, legends, strict=False))
    order = {name: place for place, name in enumerate([*dict(panel.rows), *columns])}
    organized = {
        "renameByName": dict(panel.rows) | columns,
        "indexByName": order,
        "excludeByName": {"Time": True},
    }
    return {
        "fieldConfig": {
            "defaults": _defaults(panel),
            "overrides": [
                {
                    "matcher": by_name | {"options": query.legend},
                    "properties": [{"id": "unit", "value": query.unit}],
                }
                for query in panel.queries
                if query.unit
            ],
        },
        "options": {
            "showHeader": True,
            "sortBy": [{"displayName": panel.sorted_by, "desc": True}],
        },
        # One table of all columns, with a row for each combination of the labels.
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": organized},
        ],
    }


def _heatmap(panel: Panel) -> Json:
    return {
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "yAxis": {"unit": panel.unit},
            "legend": {"show": True},
        },
    }


def _state_timeline(panel: Panel) -> Json:
    texts = {
        str(number): {"index": number, "text": text, "color": colour}
        for number, (text, colour) in enumerate(panel.states)
    }
    mappings = [{"type": "value", "options": texts}]
    return {
        "fieldConfig": {
            "defaults": _defaults(panel) | {"mappings": mappings, "custom": {"fillOpacity": 70}},
            "overrides": [],
        },
        "options": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.9, "legend": _LEGEND},
    }


_LOOKS = {
    "timeseries": _timeseries,
    "stat": _stat,
    "table": _table,
    "heatmap": _heatmap,
    "state-timeline": _state_timeline,
}
