"""What the master sees: signals, ends of workers and their causes, states."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
import time

import psutil
import pytest

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapBackend

EXITS = "gunicorn_worker_exits_total"
SIGNALS = "gunicorn_master_worker_restart_total"

pytestmark = pytest.mark.compat


def restarted(gunicorn, wait, gone, number):
    wait(
        lambda: len(gunicorn.workers()) == number and not set(gone) & set(gunicorn.workers()),
        "the workers have been replaced",
    )


def test_signals_are_counted(server, wait):
    gunicorn = server("-w", "2").start()
    first = gunicorn.workers()
    gunicorn.send(signal.SIGHUP)
    restarted(gunicorn, wait, first, 2)
    gunicorn.send(signal.SIGTTIN)
    wait(lambda: len(gunicorn.workers()) == 3, "TTIN has added a worker")
    gunicorn.send(signal.SIGTTOU)
    wait(lambda: len(gunicorn.workers()) == 2, "TTOU has taken a worker away")
    # USR1 kills a worker that isn't ready for signals yet.
    gunicorn.wait_counted("gunicorn_worker_state", 2, state="running")
    gunicorn.send(signal.SIGUSR1)
    for reason in ("hup", "ttin", "ttou", "usr1"):
        gunicorn.wait_counted(SIGNALS, 1, reason=reason)
    now = gunicorn.wait_counted(EXITS, 3)
    for name, labels in (
        ("master_last_signal", {"reason": "ttou"}),
        ("worker_last_exit", {"cause": "scale_down"}),
    ):
        (at,) = now.values(f"gunicorn_{name}_timestamp_seconds", **labels).values()
        assert 0 <= time.time() - at < 60
    assert now.sum(SIGNALS, reason="chld") >= 1
    assert now.sum(EXITS, cause="reload") == 2
    assert now.sum(EXITS, cause="scale_down") == 1


def test_causes_of_exits(server, wait):
    gunicorn = server("-w", "2", "--timeout", "2", "--max-requests", "5").start()

    killed, other = gunicorn.workers()
    os.kill(killed, signal.SIGKILL)
    restarted(gunicorn, wait, [killed], 2)
    gunicorn.wait_counted(EXITS, 1, cause="killed")

    os.kill(other, signal.SIGSEGV)
    restarted(gunicorn, wait, [other], 2)
    gunicorn.wait_counted(EXITS, 1, cause="crash")

    before = gunicorn.workers()
    told = before[0]
    os.kill(told, signal.SIGTERM)
    restarted(gunicorn, wait, [told], 2)
    gunicorn.wait_counted(EXITS, 1, cause="exit")

    stopped = gunicorn.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    restarted(gunicorn, wait, [stopped], 2)
    gunicorn.wait_counted(EXITS, 1, cause="timeout")

    def recycled():
        gunicorn.get("/")
        return gunicorn.scrape().sum(EXITS, cause="max_requests") >= 1

    wait(recycled, "a worker has ended after its requests")

    now = gunicorn.scrape()
    total = now.sum(EXITS)
    assert now.sum("gunicorn_worker_restart_total") == total
    assert now.sum("gunicorn_worker_restart_count_total") == total
    assert now.sum("gunicorn_master_worker_restart_count_total") == total
    assert now.sum("gunicorn_worker_restart_count_total", restart_type="error") == 3
    assert now.sum("gunicorn_worker_restart_total", reason="killed") == 1
    workers = {dict(labels)["worker_id"] for labels in now.values(EXITS)}
    assert workers <= {"0", "1", "2"}


def test_state_and_number_of_workers(server, wait):
    gunicorn = server("-w", "2").start()
    now = gunicorn.scrape()
    assert now.values("gunicorn_workers") == {(): 2}
    assert now.values("gunicorn_workers_target") == {(): 2}
    states = now.values("gunicorn_worker_state")
    assert {dict(labels)["state"] for labels in states} == {"running"}
    assert sorted(dict(labels)["worker_id"] for labels in states) == ["0", "1"]
    assert set(states.values()) == {1}
    gunicorn.send(signal.SIGTTIN)
    wait(lambda: gunicorn.scrape().values("gunicorn_workers") == {(): 3}, "there are three")
    gunicorn.wait_counted("gunicorn_workers_target", 3)
    gunicorn.send(signal.SIGTTOU)
    wait(lambda: gunicorn.scrape().values("gunicorn_workers") == {(): 2}, "there are two again")
    now = gunicorn.scrape()
    assert now.sum("gunicorn_worker_state", state="stopped") == 0
    assert len(now.values("gunicorn_worker_state", state="stopped")) == 1
    assert len(now.values("gunicorn_worker_uptime_seconds")) == 2


def test_what_is_sampled_of_a_worker_is_what_the_system_says(server):
    gunicorn = server("-w", "1").start()
    now = gunicorn.scrape()
    (worker,) = gunicorn.workers()
    process = psutil.Process(worker)
    (memory,) = now.values("gunicorn_worker_memory_bytes", worker_id="0").values()
    assert memory == pytest.approx(process.memory_info().rss, rel=0.2)
    (threads,) = now.values("gunicorn_worker_threads", worker_id="0").values()
    assert threads == process.num_threads()
    assert now.values("gunicorn_worker_cpu_percent", worker_id="0")
    assert now.values("gunicorn_worker_open_fds", worker_id="0")


@pytest.mark.parametrize(
    ("options", "capacity"),
    [
        (["-k", "gunicorn_prometheus_exporter.PrometheusWorker"], 1),
        (["-k", "gunicorn_prometheus_exporter.PrometheusThreadWorker", "--threads", "3"], 3),
    ],
)
def test_capacity_and_requests_in_progress(server, load, wait, options, capacity):
    gunicorn = server("-w", "1", *options).start()
    assert gunicorn.scrape().sum("gunicorn_worker_capacity") == capacity
    threads = [threading.Thread(target=gunicorn.get, args=("/slow?1",)) for _ in range(capacity)]
    for thread in threads:
        thread.start()
    gunicorn.wait_counted("gunicorn_worker_requests_in_progress", capacity)
    for thread in threads:
        thread.join()
    now = gunicorn.wait_counted("gunicorn_worker_requests_in_progress", 0)
    assert now.sum("gunicorn_worker_busy_seconds_total") == pytest.approx(capacity, rel=0.3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_end_leaves_nothing_behind(server, number):
    gunicorn = server("-w", "2").start()
    directory = psutil.Process(gunicorn.exporter()).cmdline()
    directory = directory[directory.index("--directory") + 1]
    assert os.path.isdir(directory)
    gunicorn.stop(number)
    assert not os.path.exists(directory)


def test_a_worker_that_is_told_to_end_before_it_has_begun_ends_at_once(server, tmp_path, wait):
    """Gunicorn alone loses that signal, and waits for the whole graceful timeout."""
    forked = tmp_path / "forked"
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "import pathlib, time\n\n"
        "def post_fork(server, worker):\n"
        f"    pathlib.Path({str(forked)!r}).touch()\n"
        "    while True:\n"
        "        time.sleep(0.01)\n"
    )
    gunicorn = server("-w", "2", "-c", str(config), "--graceful-timeout", "600").start(ready=False)
    wait(forked.exists, "a worker was forked")
    gunicorn.stop(signal.SIGTERM)
    assert "Shutting down: Master" in gunicorn.log


def test_a_worker_killed_at_the_graceful_timeout_is_counted(server, tmp_path):
    """child_exit is not called for it, by any Gunicorn."""
    gunicorn = server(
        "-w", "1", "--graceful-timeout", "1", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "pages")
    ).start()

    def hang():
        with contextlib.suppress(OSError, http.client.HTTPException):
            gunicorn.get("/slow?20")

    thread = threading.Thread(target=hang)
    thread.start()
    gunicorn.wait_counted("gunicorn_worker_requests_in_progress", 1)
    gunicorn.stop(signal.SIGTERM)
    thread.join()
    storage = MmapBackend().open(Settings(), str(tmp_path / "pages"))
    text = Exposition(storage).render(TEXT_0_0_4).decode()
    assert f'{EXITS}{{cause="shutdown",worker_id="0"}} 1.0' in text
