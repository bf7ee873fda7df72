"""The demo does what it says: it counts right, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families


class Demo:
    """The demo, started, with everything it has been seen to start or to make."""

    def __init__(self, folder: Path, scratch: Path, wait_for: Any, *arguments: str) -> None:
        self.folder = folder
        self.temporary = scratch / "temporary"
        self.temporary.mkdir()
        self.files = set(folder.rglob("*"))
        self._output, self._errors = scratch / "output", scratch / "errors"
        self._wait_for = wait_for
        self.others: list[psutil.Process] = []
        self.directory: Path | None = None
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-B", folder / "run.py", *arguments],
                cwd=scratch,
                env=os.environ | {"TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        return self._wait_for(condition, lambda: self.output + self.errors, seconds)

    def wait_until_it_shows_itself(self) -> None:
        """Then everything it has started is known."""
        self.wait(lambda: "Requests are being sent" in self.output)
        self.look()
        (exporter,) = (p for p in self.others if "gunicorn_prometheus_server" in p.cmdline())
        self.directory = Path(exporter.cmdline()[exporter.cmdline().index("--directory") + 1])
        assert self.directory.is_dir()

    def look(self) -> None:
        """Remember the processes there are now."""
        now = psutil.Process(self.process.pid).children(recursive=True)
        self.others += [process for process in now if process not in self.others]

    @property
    def gunicorn(self) -> psutil.Process:
        (master,) = psutil.Process(self.process.pid).children()
        return master

    def url(self, what: str) -> str:
        return re.search(rf"^  {what} +(http\S+)$", self.output, re.MULTILINE)[1]

    def scrape(self) -> str:
        with urllib.request.urlopen(self.url("metrics"), timeout=10) as response:
            return response.read().decode()

    def wait_for_its_end(self) -> int:
        return self.process.wait(30)

    def end(self) -> None:
        """Whatever has happened."""
        if self.process.poll() is None:
            self.look()
            self.process.kill()
            self.process.wait()
        for process in self.others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def demo(
    repository: Path, tmp_path: Path, wait_for: Callable[..., Any]
) -> Iterator[Callable[..., Demo]]:
    """Starts the demo, where its usual ports are taken."""
    with contextlib.ExitStack() as stack:
        for port in (8000, 9091):
            with contextlib.suppress(OSError):  # taken already
                stack.enter_context(socket.create_server(("127.0.0.1", port)))

        def start(*arguments: str, folder: Path = repository / "examples/demo") -> Demo:
            started = Demo(folder, tmp_path, wait_for, *arguments)
            stack.callback(started.end)
            return started

        yield start


def assert_nothing_is_left(demo: Demo, is_open: Callable[[int], bool]) -> None:
    assert [process for process in demo.others if process.is_running()] == []
    assert demo.directory is not None
    assert not demo.directory.exists()
    assert list(demo.temporary.iterdir()) == []
    assert set(demo.folder.rglob("*")) == demo.files
    for what in ("application", "metrics"):
        port = int(re.search(r":(\d+)/", demo.url(what))[1])
        assert port not in (8000, 9091)
        assert not is_open(port)


def sums(scrape: str, name: str, *labels: str) -> Counter[Any]:
    """The values of all samples of that name, by the values of these labels."""
    found: Counter[Any] = Counter()
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            if sample.name == name:
                values = tuple(sample.labels[label] for label in labels)
                found[values if len(values) > 1 else values[0] if values else ()] += sample.value
    return found


def answered(told: dict[str, Any]) -> Counter[Any]:
    """What the client was answered, with the labels that the metrics should have."""
    found: Counter[Any] = Counter()
    for row in told["answered"]:
        endpoint = "_unmatched_" if row["status"] == 404 else row["target"].partition("?")[0]
        found[row["method"], endpoint, str(row["status"])] += row["number"]
    return found


def test_the_metrics_count_what_the_client_sent(
    demo: Callable[..., Demo], is_open: Callable[[int], bool]
) -> None:
    running = demo("--seconds", "4", "--json")
    running.wait_until_it_shows_itself()
    running.wait(lambda: "demo_orders_total" in running.scrape())
    assert running.wait_for_its_end() == 0, running.errors
    assert running.errors == ""
    assert_nothing_is_left(running, is_open)

    told = json.loads(running.output.splitlines()[-1])
    sent, scrape = answered(told), told["scrape"]
    assert told["unanswered"] == 0
    assert {(endpoint, status) for _, endpoint, status in sent} == {
        ("/", "200"),
        ("/fast", "200"),
        ("/slow", "200"),
        ("/upload", "200"),
        ("/download", "200"),
        ("/failing", "500"),
        ("_unmatched_", "404"),
    }
    assert told["orders"].keys() == {"coffee", "tea"}
    assert sums(scrape, "demo_orders_total", "kind") == told["orders"]
    uploads = sent["POST", "/upload", "200"]
    assert sums(scrape, "demo_upload_bytes_count")[()] == uploads
    assert sums(scrape, "demo_upload_bytes_sum")[()] == uploads * 20_000

    counted = "gunicorn_http_request_duration_seconds_count"
    assert sums(scrape, counted, "method", "endpoint", "status") == sent
    assert sum(sums(scrape, "gunicorn_worker_requests_total", "worker_id").values()) == sum(
        sent.values()
    )
    read = sums(scrape, "gunicorn_http_request_size_bytes_sum", "endpoint")
    assert read["/upload"] == uploads * 20_000
    written = sums(scrape, "gunicorn_http_response_size_bytes_sum", "endpoint")
    size = (running.folder / "app.py").stat().st_size
    assert written["/download"] == sent["GET", "/download", "200"] * size
    # The parser appends _total to the name of every counter.
    failures = sums(scrape, "gunicorn_worker_failed_requests_total", "endpoint", "error_type")
    assert failures == {("/failing", "RuntimeError"): sent["GET", "/failing", "500"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_it_survives_what_it_invites_to_and_ends_when_told(
    demo: Callable[..., Demo], is_open: Callable[[int], bool], number: signal.Signals
) -> None:
    running = demo("--json")
    running.wait_until_it_shows_itself()
    running.wait(lambda: sums(running.scrape(), "demo_orders_total", "kind")["tea"] > 3)
    master = running.gunicorn
    before = sums(running.scrape(), "demo_orders_total", "kind")
    if number == signal.SIGINT:
        for child in master.children():
            child.kill()
    else:
        master.send_signal(signal.SIGHUP)

    def replaced() -> bool:
        running.look()
        now = running.scrape()
        orders = sums(now, "demo_orders_total", "kind")
        assert all(orders[kind] >= before[kind] for kind in before)
        workers = sums(now, "gunicorn_worker_exits_total", "worker_id")
        return sum(workers.values()) == 2 and orders["tea"] > before["tea"] + 1

    running.wait(replaced)
    running.process.send_signal(number)
    assert running.wait_for_its_end() == 0, running.errors
    assert_nothing_is_left(running, is_open)

    told = json.loads(running.output.splitlines()[-1])
    counted = sums(told["scrape"], "demo_orders_total", "kind")
    for kind, orders in told["orders"].items():
        assert orders <= counted[kind] <= orders + told["unanswered"]
    if number == signal.SIGTERM:
        assert told["unanswered"] == 0  # a reload is graceful


def test_it_says_so_when_gunicorn_does_not_start(
    demo: Callable[..., Demo], repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(repository / "examples/demo", folder)
    with (folder / "app.py").open("a") as app:
        app.write("\nraise RuntimeError('this application is broken')\n")
    running = demo(folder=folder)
    assert running.wait_for_its_end() == 1
    assert "Gunicorn did not start" in running.errors
    assert "this application is broken" in running.errors
    assert running.output == ""
    assert list(running.temporary.iterdir()) == []
