"""What a dashboard is made of, without what Grafana wants to know beside.

In expressions stand, for what every one of them would have to repeat:

* ``{HERE}``: the selected jobs and instances, ``{WORKER}``: and workers, ``{ROUTE}``: and routes.
  Further matchers follow after a comma: ``{HERE, status="500"}``
* ``[RATE]``: an interval that rates can be taken over, by how often Prometheus scrapes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "table", "heatmap", "state-timeline"]

_SELECTED = {
    "{HERE": '{job=~"$job", instance=~"$instance"',
    "{WORKER": '{job=~"$job", instance=~"$instance", worker_id=~"$worker"',
    "{ROUTE": '{job=~"$job", instance=~"$instance", endpoint=~"$endpoint"',
    "[RATE]": "[$__rate_interval]",
}


def expanded(expr: str) -> str:
    """The expression as Grafana gets it."""
    for short, long in _SELECTED.items():
        expr = expr.replace(short, long)
    return " ".join(expr.split())


@dataclass(frozen=True)
class Query:
    """One expression, and how its series are called: ``{{label}}`` stands for a label's value.

    In a table it is one column, and the legend is the column's name.
    """

    expr: str
    legend: str = ""
    #: Of a column in a table: its own unit.
    unit: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot, number or table. ``width`` is of 24 columns, ``unit`` one of Grafana's.

    ``needs`` says without what it stays empty. ``thresholds`` are (value, colour), and from below
    the first on it is green.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    needs: str = ""
    stacked: bool = False
    most: float | None = None
    decimals: int | None = None
    thresholds: tuple[tuple[float, str], ...] = ()
    #: Of a state timeline: text and colour of the values 0, 1, 2, ...
    states: tuple[tuple[str, str], ...] = ()
    #: Of a table: the labels that its rows are by, with the names of their columns, and the column
    #: that it is sorted by, largest first.
    rows: tuple[tuple[str, str], ...] = ()
    sorted_by: str = ""


@dataclass(frozen=True)
class Row:
    """Panels under a heading. They stand side by side as far as there is room."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values that a label has in some series."""

    name: str
    label: str
    series: str
    of: str


@dataclass(frozen=True)
class Board:
    """A dashboard. ``name`` is that of its file and, with ``gunicorn-`` before, its uid."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


#: Every exporter has this family, whatever else it serves.
JOB = Variable("job", "Job", "gunicorn_exporter_scrapes_total", "job")
INSTANCE = Variable(
    "instance", "Instance", 'gunicorn_exporter_scrapes_total{job=~"$job"}', "instance"
)
WORKER = Variable("worker", "Worker", "gunicorn_worker_requests_total{HERE}", "worker_id")
ENDPOINT = Variable(
    "endpoint", "Endpoint", "gunicorn_http_request_duration_seconds_count{HERE}", "endpoint"
)
