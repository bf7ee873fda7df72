"""The application's own prometheus_client metrics, wherever they are made and used."""

from __future__ import annotations

import os
import signal

import pytest
from prometheus_client import CollectorRegistry, multiprocess

REQUESTS = "gunicorn_worker_requests_total"

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
@pytest.mark.parametrize("configured", [False, True], ids=["own directory", "configured"])
def test_counts_from_threads_children_and_every_worker(server, tmp_path, preload, configured):
    # prometheus_client has seen PROMETHEUS_MULTIPROC_DIR before we activate, when it is preloaded.
    pages = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "pages")} if configured else {}
    if configured:
        (tmp_path / "pages").mkdir()
    gunicorn = server("-w", "2", *preload, **pages).start()
    for _ in range(10):
        assert gunicorn.get("/")[0] == 200
    assert gunicorn.get("/threads")[0] == 200
    assert gunicorn.get("/child")[0] == 200
    now = gunicorn.scrape()
    assert now.sum("app_hellos_total") == 10 + 8000 + 7
    assert now.sum("app_starts_total") == (1 if preload else 2)
    assert now.sum("app_live") == (1 if preload else 2)
    assert now.sum("app_latency_seconds_count") == 10
    assert now.sum("app_latency_seconds_bucket", le="0.1") == 10
    assert now.sum("app_sizes_sum") == 50


def test_gauges_of_the_dead_and_the_living(server, wait):
    gunicorn = server("-w", "2").start()
    wait(lambda: gunicorn.scrape().sum("app_live") == 2, "both workers have loaded it")
    for value in (3, 8, 5):
        gunicorn.get(f"/newest?{value}")
    assert gunicorn.scrape().sum("app_latest") == 5
    first = gunicorn.workers()
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    wait(
        lambda: len(gunicorn.workers()) == 2 and not set(first) & set(gunicorn.workers()),
        "the workers are replaced",
    )
    wait(lambda: gunicorn.scrape().sum("app_live") == 2, "the live gauge is of the new workers")
    assert gunicorn.scrape().sum("app_latest") == 5


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
def test_an_application_that_serves_metrics_itself_finds_those_of_all_workers(server, preload):
    gunicorn = server("-w", "2", *preload).start()
    for _ in range(10):
        gunicorn.get("/")
    status, text = gunicorn.get("/metrics")
    assert status == 200
    assert b"\napp_hellos_total 10.0\n" in text


def test_prometheus_clients_own_collector_reads_our_directory(server, tmp_path):
    gunicorn = server("-w", "2", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "pages")).start()
    for _ in range(10):
        gunicorn.get("/")
    ours = gunicorn.scrape()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path / "pages"))
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    application = {key: value for key, value in ours.samples.items() if key[0].startswith("app_")}
    assert application
    assert application == {key: theirs[key] for key in application}
    # What we record for ourselves makes sense to it as well.
    counted = "gunicorn_http_request_duration_seconds_count"
    assert theirs[counted, (("endpoint", "/"), ("method", "GET"), ("status", "200"))] == 10


def test_pages_of_a_process_that_uses_prometheus_client_alone_are_served_too(server, tmp_path):
    import subprocess
    import sys

    pages = str(tmp_path / "pages")
    gunicorn = server("-w", "1", PROMETHEUS_MULTIPROC_DIR=pages).start()
    gunicorn.get("/")
    code = (
        "from prometheus_client import Counter;"
        "Counter('app_hellos_total', 'Answers of the front page').inc(5)"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": pages}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert gunicorn.scrape().sum("app_hellos_total") == 6
