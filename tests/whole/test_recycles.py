"""What is stored and scraped depends on how many processes live, not on how many have lived."""

from __future__ import annotations

import os
import statistics
import time

import pytest


def files(pages):
    return sorted(name for name in os.listdir(pages) if name.endswith((".db", ".slot")))


def scrape_seconds(gunicorn):
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        gunicorn.scrape()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def settled(gunicorn, client, wait):
    """A scrape that has every request, with all workers there."""
    gunicorn.wait_counted("gunicorn_worker_requests_total", client.total + 1)
    wait(lambda: gunicorn.scrape().sum("gunicorn_worker_state", state="running") == 4, "all run")
    return gunicorn.scrape()


#: Appear with a worker's first failed request, or its first end of a sort, which not each of them
#: has had at the beginning.
LATER = (
    "gunicorn_worker_failed_requests",
    "gunicorn_worker_error_handling",
    "gunicorn_worker_exits_total",
    "gunicorn_worker_last_exit_timestamp_seconds",
    "gunicorn_worker_restart_total",
    "gunicorn_worker_restart_count_total",
    "gunicorn_master_worker_restart_count_total",
)


def series(scrape):
    return {
        (name, tuple(label for label in labels if label[0] != "timestamp"))
        for name, labels in scrape.samples
        if name not in LATER
    }


@pytest.mark.timeout(400)
def test_a_thousand_recycles_leave_no_trace(server, load, wait, tmp_path):
    pages = tmp_path / "pages"
    gunicorn = server("-w", "4", "--max-requests", "1", PROMETHEUS_MULTIPROC_DIR=str(pages)).start()
    with load(gunicorn, threads=4) as client:
        client.more(60)
        client.pause()
        before = settled(gunicorn, client, wait)
        files_before, seconds_before = files(pages), scrape_seconds(gunicorn)
        client.resume()
        for _ in range(10):
            client.more(100)  # each with its deadline: on a busy machine all take longer than one
        client.pause()
    after = settled(gunicorn, client, wait)
    assert after.sum("gunicorn_worker_exits_total", cause="max_requests") >= 1000
    assert files(pages) == files_before
    assert series(after) == series(before)
    # Of each of four workers: ends after its requests, and such whose cause could not be told.
    assert all(len(after.values(name)) <= 4 * 2 for name in LATER)
    assert scrape_seconds(gunicorn) < 2 * seconds_before
