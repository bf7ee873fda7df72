"""What the guides to migration say is so: the old and the new count the same, side by side."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gunicorn
import pytest
from gunicorn.config import KNOWN_SETTINGS
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_prometheus_core.catalogue import FAMILIES

FLASK = """
import flask
from prometheus_flask_exporter import PrometheusMetrics

app = flask.Flask(__name__)
PrometheusMetrics(app, group_by="url_rule")


@app.get("/orders/<int:number>")
def order(number):
    return "an order"


@app.get("/failing")
def failing():
    raise RuntimeError("on purpose")


@app.get("/busy")
def busy():
    flask.abort(503)
"""

PLAIN = """
import os


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/failing":
        raise RuntimeError("on purpose")
    if path == "/gone":
        os.read(os.open(os.environ["GATE"], os.O_RDONLY), 1)  # until the client is gone
    status = "404 Not Found" if path == "/nowhere" else "200 OK"
    start_response(status, [("Content-Length", "3")])
    return [b"ok\\n"]
"""


def sums(scrape: str, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """The values of all samples of that name, by the values of these labels."""
    found: Counter[Any] = Counter()
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sample.labels[label] for label in labels)] += sample.value
    return found


class Server:
    """Gunicorn with our worker, on free ports."""

    def __init__(
        self, folder: Path, *options: str, python: object = None, **variables: str
    ) -> None:
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "ab"]
            self.port, self._metrics = [sock.getsockname()[1] for sock in sockets]
        command = [
            str(python or sys.executable),
            "-m",
            "gunicorn",
            f"--bind=127.0.0.1:{self.port}",
            "-w2",
        ]
        known = any("--no-control-socket" in (setting.cli or ()) for setting in KNOWN_SETTINGS)
        if known and python is None:
            command.append("--no-control-socket")
        command += ["-k", "gunicorn_prometheus_exporter.PrometheusWorker", *options, "app:app"]
        variables |= {"PROMETHEUS_BIND_ADDRESS": "127.0.0.1", "TMPDIR": str(folder)}
        variables["PROMETHEUS_METRICS_PORT"] = str(self._metrics)
        self._log = folder / f"log-{self.port}"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=os.environ | variables, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ask(self, target: str, method: str = "GET") -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{target}", method=method)
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request) as answer:
            answer.read()

    def scrape(self) -> str:
        with contextlib.suppress(urllib.error.URLError):
            url = f"http://127.0.0.1:{self._metrics}/metrics"
            with urllib.request.urlopen(url) as answer:
                return answer.read().decode()
        return ""

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


@pytest.fixture
def serve(tmp_path: Path, wait_for: Any) -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start(*options: str, **others: Any) -> Server:
            server = Server(tmp_path, *options, **others)
            stack.callback(server.end)
            wait_for(lambda: server.log.count("Booting worker") == 2, lambda: server.log, 30)
            return server

        yield start


def test_prometheus_flask_exporter_counts_the_same(
    serve: Callable[..., Server], tmp_path: Path, wait_for: Any
) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    server = serve()
    asked = ["/orders/1", "/orders/2", "/failing", "/busy", "/nowhere", "/orders/x"]
    for target in asked:
        server.ask(target)
    server.ask("/orders/1", "POST")  # 405
    server.ask("/orders/3", "HEAD")

    count = "http_request_duration_seconds_count"

    def counted() -> str:
        """The metrics, when all requests are counted, which is after they are answered."""
        scrape = server.scrape()
        done = sum(sums(scrape, f"gunicorn_{count}", "status").values()) == len(asked) + 2
        return scrape if done else ""

    scrape = wait_for(counted, server.scrape, 20)
    theirs = sums(scrape, f"flask_{count}", "method", "url_rule", "status")
    ours = sums(scrape, f"gunicorn_{count}", "method", "endpoint", "status")
    translated: Counter[Any] = Counter()
    for (method, rule, status), value in theirs.items():
        translated[method, "_unmatched_" if rule == "None" else rule, status] += value
    assert ours == translated

    total = sums(scrape, "flask_http_request_total", "method", "status")
    assert sums(scrape, f"gunicorn_{count}", "method", "status") == total
    failed = sums(scrape, "flask_http_request_exceptions_total", "method")
    # The parser appends _total to the name of every counter.
    assert sums(scrape, "gunicorn_worker_failed_requests_total", "method") == failed
    assert failed == {("GET",): 1}

    bounds = {
        whose: {float(bound) for (bound,) in sums(scrape, f"{whose}_{bucket}", "le")}
        for whose in ("flask", "gunicorn")
        for bucket in ["http_request_duration_seconds_bucket"]
    }
    assert bounds["gunicorn"] - bounds["flask"] == {30, 60}
    assert bounds["flask"] < bounds["gunicorn"]


@pytest.fixture
def datagrams() -> Iterator[tuple[int, list[str]]]:
    """The port of a UDP server, and what it has been sent so far."""
    received: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def receive() -> None:
            while (datagram := sock.recv(1000)) != b"end":
                received.append(datagram.decode())

        thread = threading.Thread(target=receive)
        thread.start()
        yield sock.getsockname()[1], received
        sock.sendto(b"end", sock.getsockname())
        thread.join()


def test_statsd_counts_the_same(
    serve: Callable[..., Server],
    datagrams: tuple[int, list[str]],
    tmp_path: Path,
    wait_for: Any,
) -> None:
    (tmp_path / "app.py").write_text(PLAIN)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    port, received = datagrams
    options = (f"--statsd-host=127.0.0.1:{port}", "--enable-backlog-metric")
    server = serve(*options, GATE=str(gate))
    for target in ["/", "/", "/nowhere", "/failing"]:
        server.ask(target)

    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /gone HTTP/1.1\r\nHost: here\r\n\r\n")
        opened = os.open(gate, os.O_WRONLY)  # when the application has opened it
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.write(opened, b"x")
    os.close(opened)

    def of(name: str) -> list[str]:
        return [line.partition(":")[2] for line in list(received) if line.startswith(f"{name}:")]

    wait_for(lambda: len(of("gunicorn.requests")) == 5, lambda: received, 20)
    wait_for(lambda: of("gunicorn.backlog"), lambda: received, 20)
    statuses = Counter(
        line.partition(":")[0].rpartition(".")[2]
        for line in list(received)
        if line.startswith("gunicorn.request.status.")
    )
    assert len(of("gunicorn.request.duration")) == 5
    assert of("gunicorn.workers")[-1].startswith("2|g")
    assert statuses == {"200": 3, "404": 1, "500": 1}

    expected = {("200",): 2, ("404",): 1, ("500",): 1, ("499",): 1}

    def counted() -> str:
        scrape = server.scrape()
        count = "gunicorn_http_request_duration_seconds_count"
        return scrape if sums(scrape, count, "status") == expected else ""

    scrape = wait_for(counted, server.scrape, 20)
    assert sum(sums(scrape, "gunicorn_worker_requests_total", "worker_id").values()) == 5
    assert len(of("gunicorn.log.exception")) == 1
    failed = sums(scrape, "gunicorn_worker_failed_requests_total", "error_type")
    assert failed == {("RuntimeError",): 1, ("ConnectionResetError",): 1}
    assert sums(scrape, "gunicorn_workers")[()] == 2
    assert "gunicorn_listener_backlog{" in scrape


HOOKS = """
from gunicorn_prometheus_exporter import hooks

on_starting = hooks.default_on_starting
when_ready = hooks.default_when_ready
worker_int = hooks.default_worker_int
on_exit = hooks.default_on_exit
post_fork = hooks.default_post_fork
"""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The interpreter of an environment with version 0.2.4, from the package index."""
    home = tmp_path / "published"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    wanted = ["gunicorn-prometheus-exporter==0.2.4", "gunicorn==23.0.0"]
    pip = [home / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    return home / "bin/python"


@pytest.mark.timeout(180)
def test_version_0_2_counts_the_same(
    serve: Callable[..., Server], published: Path, tmp_path: Path, wait_for: Any
) -> None:
    (tmp_path / "app.py").write_text(PLAIN)
    (tmp_path / "hooks.conf.py").write_text(HOOKS)
    (tmp_path / "pages").mkdir()
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "pages"), "GUNICORN_WORKERS": "2"}
    before = serve("--config=hooks.conf.py", python=published, **variables)
    now = serve("--config=hooks.conf.py")

    def counts(server: Server, total: str) -> dict[str, Counter[Any]]:
        scrape = server.scrape()
        labels = ("method", "endpoint", "error_type")
        requests = sums(scrape, "gunicorn_worker_requests_total")
        # The parser appends _total to the name of every counter.
        failed = sums(scrape, "gunicorn_worker_failed_requests_total", *labels)
        assert f"gunicorn_worker_failed_requests{total}{{" in scrape or not failed
        return {"requests": requests, "failed": failed}

    for server in (before, now):
        for target in ("/", "/", "/", "/failing", "/failing"):
            server.ask(target)
    failed = {("GET", "/failing", "RuntimeError"): 2}
    old = {"requests": {(): 3}, "failed": failed}  # those that failed are not among them
    wait_for(lambda: counts(before, "_total") == old, before.scrape, 20)
    new = {"requests": {(): 5}, "failed": failed}
    wait_for(lambda: counts(now, "") == new, now.scrape, 20)

    ids = sums(before.scrape(), "gunicorn_worker_requests_total", "worker_id")
    assert all(re.fullmatch(r"worker_\d_\d+", worker) for (worker,) in ids)
    kept = {family.name.removesuffix("_total") for family in FAMILIES}
    for family in text_string_to_metric_families(before.scrape()):
        if family.name.startswith("gunicorn_") and not family.name.endswith("_created"):
            assert family.name in kept


def test_the_guide_names_everything_that_gunicorn_sends(pages: dict[str, str]) -> None:
    folder = Path(gunicorn.__file__).parent
    sources = [folder / "instrument/statsd.py", folder / "arbiter.py"]
    names = {
        name
        for source in sources
        for name in re.findall(r'"(gunicorn\.[a-z.]+)[".%]', source.read_text())
        if not name.startswith("gunicorn.workers.")
    }
    guide = pages["docs/how-to/from-statsd.md"]
    assert len(names) > 5
    assert [name for name in names if name not in guide] == []
