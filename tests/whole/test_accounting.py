"""What the client counted is what is exposed, whatever happens to the processes."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest

REQUESTS = "gunicorn_worker_requests_total"
FINE = "gunicorn_http_request_duration_seconds_count"

pytestmark = pytest.mark.compat


def cut_off(server, client):
    """Requests that workers had begun as they ended; the client has sent them again."""
    return int(server.scrape().sum(FINE, status="499")) if client.kind.cuts_off else 0


def assert_exact(server, client):
    """Everything the client counted is exposed, per worker, per route and in bytes."""
    client.pause()
    cut = cut_off(server, client)
    others = 1 + cut  # one for /ping, by which the tests find out that the server is up
    now = server.wait_counted(REQUESTS, client.total + others)
    duration = "gunicorn_worker_request_duration_seconds"
    assert now.sum(f"{duration}_count") == client.total + others
    assert now.sum(f"{duration}_bucket", le="+Inf") == client.total + others
    for (path, status), count in client.answers.items():
        endpoint = "_unmatched_" if status == 404 else path
        assert now.sum(FINE, endpoint=endpoint, status=str(status)) == count, path
    assert now.sum("gunicorn_worker_failed_requests") == client.answers["/fail", 500]
    assert now.sum("gunicorn_worker_error_handling") == client.answers["/fail", 500]
    read = now.sum("gunicorn_worker_request_size_bytes_sum")
    assert client.sent <= read <= client.sent + cut * client.most_sent
    assert now.sum("gunicorn_worker_response_size_bytes_sum") == client.received + len("pong")
    hellos = now.sum("app_hellos_total")
    assert client.answers["/", 200] <= hellos <= client.answers["/", 200] + cut
    assert now.sum("app_latency_seconds_count") == hellos
    assert now.sum("app_sizes_sum") == 5 * hellos
    assert now.sum("gunicorn_worker_requests_in_progress") == 0
    client.resume()


@pytest.mark.timeout(300)
def test_exact_through_everything_that_happens_to_processes(server, load, watch, wait, kind):
    recycling = ["--max-requests", "100"] if kind.recycles else []
    gunicorn = server("-w", "4", *recycling, *kind.arguments(), app=kind.app).start()
    with watch(gunicorn) as watcher, load(gunicorn, 8, kind=kind) as client:
        client.more(1500)  # workers are recycled many times over
        assert_exact(gunicorn, client)

        if not kind.stalls:
            first = set(gunicorn.workers())
            gunicorn.send(signal.SIGHUP)
            wait(lambda: not first & set(gunicorn.workers()), "HUP has replaced all workers", 60)
            client.more(500)
            assert_exact(gunicorn, client)

            gunicorn.send(signal.SIGTTIN)
            wait(lambda: len(gunicorn.workers()) == 5, "TTIN has added a worker")
            client.more(300)
            gunicorn.send(signal.SIGTTOU)
            wait(lambda: len(gunicorn.workers()) == 4, "TTOU has taken a worker away", 60)
            client.more(300)
            assert_exact(gunicorn, client)

        for _ in range(3):
            client.pause()
            gunicorn.wait_counted(REQUESTS, client.total + 1 + cut_off(gunicorn, client))
            victims = gunicorn.workers()[:2]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):  # recycled just now
                    os.kill(pid, signal.SIGKILL)
            client.resume()
            wait(lambda gone=set(victims): not gone & set(gunicorn.workers()), "they are replaced")
            client.more(200)
        assert_exact(gunicorn, client)

        for _ in range(3):
            killed = gunicorn.exporter()
            os.kill(killed, signal.SIGKILL)
            wait(lambda gone=killed: gunicorn.exporter() != gone, "the exporter is started again")
            client.more(100)
            assert_exact(gunicorn, client)
    assert watcher.cut <= 3


@pytest.mark.timeout(120)
@pytest.mark.kinds(lambda kind: kind.name in ("sync", "gthread"))
def test_exact_through_an_upgrade_of_the_running_server(server, load, watch, wait, kind):
    gunicorn = server("-w", "2", *kind.arguments()).start()
    with watch(gunicorn) as watcher, load(gunicorn, kind=kind) as client:
        client.more(300)
        gunicorn.send(signal.SIGUSR2)
        old = gunicorn.process

        def new_master():
            masters = gunicorn.workers()
            return [pid for pid in masters if len(gunicorn.workers(pid)) == 2]

        (new,) = wait(
            new_master, lambda: f"there is a new master with its workers\n{gunicorn.log}", 30
        )
        gunicorn.exporter(new)
        client.more(300)
        old.terminate()
        old.wait(60)
        client.more(300)
        assert_exact(gunicorn, client)
    assert not watcher.cut
    family = [psutil.Process(new), *psutil.Process(new).children(recursive=True)]
    os.kill(new, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
