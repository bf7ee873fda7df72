"""What deploy/ has for Prometheus and Grafana, asked of a Prometheus that scrapes real servers."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import gunicorn
import psutil
import pytest
import yaml
from websockets.sync.client import connect

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = sorted((REPOSITORY / "deploy/prometheus/rules").glob("*.yml"))
DASHBOARDS = sorted((REPOSITORY / "deploy/grafana/dashboards").glob("*.json"))
COMMAND = Path(sysconfig.get_path("scripts"), "gunicorn-prometheus-exporter")

#: All of it is one run, which the last test brings to its end.
pytestmark = pytest.mark.xdist_group("monitoring")

#: Of panels, what can't be had on an older Gunicorn.
SINCE = {"Dirty workers": 25}


class Prometheus:
    """A Prometheus that scrapes and evaluates rules every second."""

    def __init__(self, folder: Path, port: int, jobs: dict[str, list[str]]) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"
        program = shutil.which("prometheus")
        assert program, "prometheus is not installed; scripts/system-packages.sh installs it"
        for path in RULES:
            # Alerts are to fire now.
            (folder / path.name).write_text(re.sub(r"for: \w+", "for: 1s", path.read_text()))
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / path.name) for path in RULES],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": targets}]}
                for job, targets in jobs.items()
            ],
        }
        (folder / "prometheus.json").write_text(json.dumps(settings))
        self._log = (folder / "prometheus.log").open("w")
        command = [
            program,
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except (ConnectionError, urllib.error.URLError):  # it has only just been started
            return {}

    def labels(self, query: str) -> list[dict[str, str]]:
        """The labels of each series in the answer that is a number."""
        found = self._get("query", query=query).get("result", [])
        return [one["metric"] for one in found if math.isfinite(float(one["value"][1]))]

    def values_of(self, label: str, series: str) -> list[str]:
        return list(self._get(f"label/{label}/values", **{"match[]": series}))

    def firing(self) -> set[tuple[str, str, str]]:
        """Alert, job and severity."""
        alerts = self._get("alerts").get("alerts", [])
        return {
            (one["labels"]["alertname"], one["labels"]["job"], one["labels"]["severity"])
            for one in alerts
            if one["state"] == "firing"
        }

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


class Demo:
    """`make demo`: its application and its traffic, in which one of ten requests fails."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "demo.log"
        self._stack = contextlib.ExitStack()
        for port in (8000, 9091):  # or another demo, begun at the same time, might want them
            with contextlib.suppress(OSError):
                self._stack.enter_context(socket.create_server(("127.0.0.1", port)))
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-B", REPOSITORY / "examples/demo/run.py"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def target(self) -> str:
        """Where its metrics are; empty until it has said so."""
        said = re.search(r"metrics +http://(\S+)/metrics", self._output.read_text())
        return said[1] if said else ""

    def reload(self) -> None:
        self._master().send_signal(signal.SIGHUP)

    def kill_a_worker(self) -> None:
        for child in self._master().children():
            if "gunicorn_prometheus_server" not in child.cmdline():
                return child.kill()
        pytest.fail("there is no worker")

    def _master(self) -> psutil.Process:
        return psutil.Process(self._process.pid).children()[0]

    def close(self) -> None:
        self._stack.close()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
            self._process.kill()
            raise


class Fleet:
    """Beside the demo: what makes the series that it hasn't, and requests that go on."""

    def __init__(self, stack: contextlib.ExitStack, servers: Any, redis: Any, ports: Any) -> None:
        dirty = ["--dirty-app", "dirty_application:Dirty", "--dirty-workers", "1"]
        self.hosts = servers(
            *("-w", "1", "-k", "gunicorn_prometheus_exporter.PrometheusThreadWorker"),
            *("--threads", "2", *(dirty if gunicorn.version_info >= (25,) else [])),
            REDIS_ENABLED="true",
            REDIS_PORT=str(redis.port),
        ).start()
        pages = self.hosts.directory / "pages"
        self.asgi = servers(
            *("-w", "1", "-k", "gunicorn_prometheus_exporter.PrometheusUvicornWorker"),
            app="asgi_application:app",
            PROMETHEUS_MULTIPROC_DIR=str(pages),
        ).start()
        self._sidecar_port = ports()
        arguments = ["--multiproc-dir", pages, "--bind", "127.0.0.1", "--port", self._sidecar_port]
        sidecar = subprocess.Popen([COMMAND, "sidecar", *map(str, arguments)], env=os.environ)
        stack.callback(sidecar.wait, 20)
        stack.callback(sidecar.terminate)
        self._ended = threading.Event()
        thread = threading.Thread(target=self._ask)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._ended.set)

    @property
    def targets(self) -> list[str]:
        ports = (self.hosts.metrics_port, self.asgi.metrics_port, self._sidecar_port)
        return [f"127.0.0.1:{port}" for port in ports]

    def _ask(self) -> None:
        with connect(f"ws://127.0.0.1:{self.asgi.port}/echo"):
            while not self._ended.wait(0.1):
                connection = HTTPConnection("127.0.0.1", self.hosts.port, timeout=30)
                headers = {"X-Request-Start": f"t={time.time() - 0.2:.3f}"}
                with contextlib.closing(connection):
                    connection.request("GET", "/", headers=headers)
                    connection.getresponse().read()


@dataclass
class Run:
    demo: Demo
    fleet: Fleet
    redis: Any
    prometheus: Prometheus


@pytest.fixture(scope="module")
def run(
    module_server: Any,
    start_redis: Any,
    free_port: Callable[[], int],
    wait: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("monitoring")
    with contextlib.ExitStack() as stack:
        demo = stack.enter_context(contextlib.closing(Demo(folder)))
        redis = start_redis()
        fleet = Fleet(stack, module_server, redis, free_port)
        wait(lambda: demo.target, "the demo runs")
        jobs = {"demo": [demo.target], "fleet": fleet.targets}
        store = Prometheus(folder, free_port(), jobs)
        stack.enter_context(contextlib.closing(store))
        wait(lambda: len(store.labels("up == 1")) == 4, "Prometheus scrapes them all", 60)
        demo.kill_a_worker()
        killed = 'gunicorn_worker_exits_total{job="demo", cause="killed"}'
        wait(lambda: store.labels(killed), "the master has seen it")
        demo.reload()
        yield Run(demo, fleet, redis, store)


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.stem, panel


def chosen(expr: str, job: str) -> str:
    """The expression as Grafana sends it when this job is chosen, and all of everything else."""
    expr = expr.replace("$job", job).replace("$__rate_interval", "10s")
    return re.sub(r"\$(instance|worker|endpoint)\b", ".*", expr)


def trouble_with(store: Prometheus, panel: dict[str, Any], job: str) -> Iterator[str]:
    for target in panel["targets"]:
        expr = chosen(target["expr"], job)
        found = store.labels(expr)
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        for transformation in panel.get("transformations", ()):
            renamed = transformation["options"].get("renameByName", {})
            named |= {name for name in renamed if not name.startswith("Value")}
        if not found:
            yield f"{panel['title']}: nothing for {expr}"
        elif not all(named <= labels.keys() for labels in found):
            yield f"{panel['title']}: {expr} has not all of {named}: {found[0]}"


def wait_until_filled(wait: Any, store: Prometheus, job: str, ours: list[dict[str, Any]]) -> None:
    def troubles() -> list[str]:
        return [trouble for panel in ours for trouble in trouble_with(store, panel, job)]

    wait(lambda: not troubles(), lambda: "no panel is empty\n" + "\n".join(troubles()), 60)


@pytest.mark.timeout(180)
def test_no_panel_is_empty_after_the_demo(run, wait):
    """Those that say without what they are empty are, if that is so: none says it in vain."""
    every = [panel for _, panel in panels()]
    always = [panel for panel in every if "Empty without" not in panel["description"]]
    wait_until_filled(wait, run.prometheus, "demo", always)
    others = [panel for panel in every if panel not in always]
    for panel in others:
        assert list(trouble_with(run.prometheus, panel, "demo")), panel["title"]
    assert len(others) < len(always) / 4


@pytest.mark.timeout(180)
def test_no_panel_is_empty_where_there_is_what_it_needs(run, wait):
    major = gunicorn.version_info[0]
    ours = [panel for _, panel in panels() if major >= SINCE.get(panel["title"], 0)]
    wait_until_filled(wait, run.prometheus, ".*", ours)


@pytest.mark.timeout(120)
def test_events_and_choices_of_the_dashboards_are_there(run, wait):
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for event in dashboard["annotations"]["list"]:
            expr = chosen(event["target"]["expr"], "demo")
            found = wait(lambda expr=expr: run.prometheus.labels(expr), expr, 60)
            assert set(re.findall(r"{{(\w+)}}", event["titleFormat"])) <= found[0].keys()
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                query = variable["query"]["query"]
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
                series = chosen(series, "demo" if "$job" in series else "")
                values = run.prometheus.values_of(label, series)
                assert values, query
                assert label != "job" or values == ["demo", "fleet"]


@pytest.mark.timeout(120)
def test_recording_rules_give_series(run, wait):
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    assert recorded

    def missing() -> list[str]:
        return [name for name in sorted(recorded) if not run.prometheus.labels(name)]

    wait(lambda: not missing(), lambda: f"series of {missing()}", 60)


def wait_until_firing(wait: Any, store: Prometheus, *alerts: tuple[str, str, str]) -> None:
    def state() -> str:
        return f"{alerts} fire; these do: {sorted(store.firing())}"

    wait(lambda: store.firing() >= set(alerts), state, 60)


@pytest.mark.timeout(180)
def test_alerts_fire_when_something_is_wrong_and_only_then(run, wait):
    wait_until_firing(
        wait,
        run.prometheus,
        ("GunicornWorkerKilled", "demo", "warning"),
        ("GunicornErrorRatioHigh", "demo", "warning"),
        ("GunicornErrorRatioHigh", "demo", "critical"),
    )
    storage = ("GunicornStorageDown", "fleet", "warning")
    exporter = ("GunicornExporterDown", "fleet", "critical")
    killed = ("GunicornWorkerKilled", "fleet", "warning")
    assert not run.prometheus.firing() & {storage, exporter, killed}
    run.redis.kill()
    wait_until_firing(wait, run.prometheus, storage)
    run.fleet.asgi.stop()
    wait_until_firing(wait, run.prometheus, exporter)
    assert killed not in run.prometheus.firing()
