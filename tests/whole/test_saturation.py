"""How busy workers are, and who waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from gunicorn import version_info

BUSY, CAPACITY = "gunicorn_worker_busy_seconds_total", "gunicorn_worker_capacity"
BACKLOG, LIMIT = "gunicorn_listener_backlog", "gunicorn_listener_backlog_limit"
QUEUE, SKEWED = "gunicorn_http_request_queue_seconds", "gunicorn_http_request_queue_skewed_total"
WAIT = "gunicorn_worker_thread_wait_seconds"
AGE, TIMEOUT = "gunicorn_worker_heartbeat_age_seconds", "gunicorn_worker_timeout_seconds"

#: Kind of worker, options, requests at a time: half of what it can, and all.
LOADS = [
    ("sync", (), 1, 1),
    ("gthread", (), 4, 2),
    ("gthread", (), 4, 4),
    ("gevent", ("--worker-connections", "8"), 8, 4),
]


@pytest.mark.compat
@pytest.mark.parametrize(
    ("worker", "options", "capacity", "together"),
    [pytest.param(*load, id=f"{load[0]}-{load[-1]}") for load in LOADS],
)
def test_busy_seconds_by_capacity_are_the_utilisation(
    server, kinds, worker, options, capacity, together
):
    gunicorn = server("-w", "1", *kinds[worker].arguments(), *options).start()
    service: list[float] = []

    def load():
        for _ in range(8):
            service.append(float(gunicorn.get("/timed?0.15")[1]))
            time.sleep(0.05)

    threads = [threading.Thread(target=load) for _ in range(together)]
    before, began = gunicorn.scrape(), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = gunicorn.wait_counted("gunicorn_worker_requests_in_progress", 0)
    seconds = time.monotonic() - began
    assert len(service) == together * 8
    assert now.sum(CAPACITY) == capacity
    shown = (now.sum(BUSY) - before.sum(BUSY)) / seconds / capacity
    true = sum(service) / seconds / capacity
    assert 0.1 < true < 1
    assert shown == pytest.approx(true, rel=0.02)


@contextlib.contextmanager
def waiting(number, connect):
    """So many clients that have sent a request each."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            client = stack.enter_context(connect())
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        yield


@pytest.mark.compat
def test_the_backlog_is_the_connections_that_really_wait(server, tmp_path):
    path = str(tmp_path / "socket")
    binds = ["--bind", f"unix:{path}", "--backlog", "50"]
    gunicorn = server("-w", "1", *binds)
    gunicorn.start()
    tcp, unix = f"http://127.0.0.1:{gunicorn.port}", f"unix:{path}"

    def connect_unix():
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        return client

    now = gunicorn.scrape()
    assert now.sum(LIMIT, listener=tcp) == now.sum(LIMIT, listener=unix) == 50
    gunicorn.wait_counted(BACKLOG, 0)
    busy = threading.Thread(target=gunicorn.get, args=("/slow?4",))
    busy.start()
    gunicorn.wait_counted("gunicorn_worker_requests_in_progress", 1)
    address = ("127.0.0.1", gunicorn.port)
    with waiting(7, lambda: socket.create_connection(address)), waiting(3, connect_unix):
        gunicorn.wait_counted(BACKLOG, 7, listener=tcp)
        gunicorn.wait_counted(BACKLOG, 3, listener=unix)
    busy.join()
    gunicorn.wait_counted(BACKLOG, 0)


def test_the_wait_for_a_thread_is_shown(server, kinds):
    options = ["-k", "gunicorn_prometheus_exporter.PrometheusThreadWorker", "--threads", "2"]
    gunicorn = server("-w", "1", *options).start()

    def ask():
        # Closed by the worker: an end that it has to find out of would wait for a thread as well.
        with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=30) as client:
            client.sendall(b"GET /slow?0.5 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while client.recv(1000):
                pass

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = gunicorn.scrape()
    # Two have waited for the other two.
    assert now.sum(f"{WAIT}_bucket", le="0.25") == now.sum(f"{WAIT}_count") - 2
    assert 0.5 < now.sum(f"{WAIT}_sum") < 3


@pytest.mark.compat
def test_the_time_since_a_proxy_took_the_request_is_shown(server, kind):
    gunicorn = server("-w", "1", *kind.arguments(), app=kind.app).start()
    for waited in (0.3, 0.3, -5):
        with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=30) as client:
            stamp = f"X-Request-Start: t={(time.time() - waited) * 1e6:.0f}"
            request = f"GET /ping HTTP/1.1\r\nHost: test\r\n{stamp}\r\nConnection: close\r\n\r\n"
            client.sendall(request.encode())
            assert client.recv(100).startswith(b"HTTP/1.1 200")
    now = gunicorn.wait_counted(f"{QUEUE}_count", 3)
    assert now.sum(SKEWED) == 1
    assert 0.6 <= now.sum(f"{QUEUE}_sum") < 5


@pytest.mark.compat
def test_a_silent_worker_can_be_seen_before_it_is_killed(server, wait):
    gunicorn = server("-w", "1", "--timeout", "30").start()
    assert gunicorn.scrape().sum(TIMEOUT) == 30
    busy = threading.Thread(target=gunicorn.get, args=("/slow?3",))
    busy.start()
    wait(lambda: gunicorn.scrape().sum(AGE) > 2, "the worker is silent")
    busy.join()
    assert gunicorn.get("/ping")[0] == 200
    wait(lambda: gunicorn.scrape().sum(AGE) < 2, "the worker has given a sign of life")


@pytest.mark.compat
@pytest.mark.kinds(lambda kind: kind.name == "sync" and version_info >= (25,))
def test_dirty_workers_are_counted(server, kind):
    dirty = ["--dirty-app", "dirty_application:Dirty", "--dirty-workers", "2"]
    gunicorn = server("-w", "1", *kind.arguments(), *dirty).start()
    gunicorn.wait_counted("gunicorn_dirty_workers", 2)
    assert gunicorn.scrape().sum("gunicorn_workers") == 1


@pytest.mark.compat
def test_the_time_that_a_worker_takes_to_start_is_shown(server, kind):
    gunicorn = server("-w", "1", *kind.arguments(), app=kind.app, IMPORT_SECONDS="0.4").start()
    assert 0.4 <= gunicorn.scrape().sum("gunicorn_worker_boot_seconds") < 20
