"""Exemplars and native histograms, as a real Prometheus has them of a server with four workers."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Prometheus:
    """A Prometheus that scrapes one server every second, and keeps what it can."""

    def __init__(self, folder: Path, port: int, target: str, *features: str) -> None:
        self.port = port
        program = shutil.which("prometheus")
        assert program, "prometheus is not installed; scripts/system-packages.sh installs it"
        scrape = {"job_name": "gunicorn", "static_configs": [{"targets": [target]}]}
        settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.json").write_text(json.dumps(settings))
        self._log = (folder / "prometheus.log").open("w")
        command = [
            program,
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--enable-feature={','.join(features)}",
        ]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def ask(self, what: str, **parameters: object) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as response:
            data = json.load(response)["data"]
            return list(data["result"] if isinstance(data, dict) else data)
        return []

    def value(self, query: str) -> float:
        found = self.ask("query", query=query)
        return float(found[0]["value"][1]) if found else math.nan

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture
def prometheus(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Prometheus]]:
    made: list[Prometheus] = []

    def start(target: str, *features: str) -> Prometheus:
        made.append(Prometheus(tmp_path, free_port(), target, *features))
        return made[-1]

    yield start
    for one in made:
        one.close()


def get(port: int, path: str, **headers: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().read() is not None
    finally:
        connection.close()


@pytest.mark.timeout(120)
def test_prometheus_has_the_exemplars_of_all_workers(server, prometheus, wait):
    gunicorn = server("-w", "4").start()
    store = prometheus(f"127.0.0.1:{gunicorn.metrics_port}", "exemplar-storage")
    sent = set()

    def seen() -> set[str]:
        now = time.time()
        found = store.ask(
            "query_exemplars",
            query="gunicorn_http_request_duration_seconds_bucket",
            start=now - 600,
            end=now + 60,
        )
        return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}

    def several() -> bool:
        for _ in range(20):
            trace = f"{len(sent) + 1:032x}"
            get(gunicorn.port, "/", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
            sent.add(trace)
        return len(seen()) >= 4

    wait(
        several,
        lambda: f"exemplars of {len(sent)} requests: {seen()}; {store.ask('query', query='up')}",
        60,
    )
    assert seen() <= sent
    # A worker that is killed takes none of them along.
    before = exemplars_in(gunicorn)
    for pid in gunicorn.workers():
        os.kill(pid, signal.SIGKILL)
    assert before
    assert exemplars_in(gunicorn) == before


def exemplars_in(gunicorn) -> set[str]:
    text = gunicorn.scrape(accept=OPENMETRICS).text
    return set(re.findall(r' # {trace_id="(\w+)"}', text))


@pytest.mark.timeout(180)
def test_prometheus_computes_quantiles_from_native_histograms(server, prometheus, wait):
    gunicorn = server("-w", "4", GUNICORN_PROMETHEUS_NATIVE_HISTOGRAMS="true").start()
    store = prometheus(
        f"127.0.0.1:{gunicorn.metrics_port}", "native-histograms", "exemplar-storage"
    )
    family = 'gunicorn_http_request_duration_seconds{endpoint="/slow"}'
    count = f"histogram_count({family})"
    wait(lambda: store.value("sum(gunicorn_workers)") == 4, "Prometheus has scraped", 60)

    def measure(number: int) -> float:
        begun = time.perf_counter()
        get(gunicorn.port, f"/slow?{0.02 * 1.045**number:.4f}")
        return time.perf_counter() - begun

    with ThreadPoolExecutor(3) as pool:
        measured = list(pool.map(measure, range(100)))
    wait(
        lambda: store.value(f"sum({count})") == len(measured),
        lambda: f"all of {len(measured)}: {store.ask('query', query=count)}",
        60,
    )
    cuts = statistics.quantiles(measured, n=100, method="inclusive")
    for quantile in (0.5, 0.9, 0.95, 0.99):
        computed = store.value(f"histogram_quantile({quantile}, sum({family}))")
        assert computed == pytest.approx(cuts[round(quantile * 100) - 1], rel=0.05), quantile
    mean = store.value(f"histogram_sum(sum({family})) / histogram_count(sum({family}))")
    assert mean == pytest.approx(statistics.mean(measured), rel=0.05)
    # All other families come by the same scrape.
    assert store.value("app_hellos_total") >= 0
    assert store.value("sum(gunicorn_worker_requests_total)") >= 100


def test_native_buckets_are_in_no_text_and_not_in_stock_readers_way(server):
    gunicorn = server("-w", "1", GUNICORN_PROMETHEUS_NATIVE_HISTOGRAMS="true").start()
    gunicorn.get("/")
    for accept in ("text/plain", OPENMETRICS):
        assert "native" not in gunicorn.scrape(accept=accept).text
