"""What the page shows where hosts share a Redis."""

from __future__ import annotations

import json
import signal
import urllib.request

import pytest


@pytest.fixture
def environment(redis_server, redis_settings):
    redis_server.cli("flushall")
    return {**redis_settings, "REDIS_PORT": str(redis_server.port)}


def status_of(gunicorn):
    url = f"http://{gunicorn.host}:{gunicorn.metrics_port}/api/v1/status"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_the_workers_of_all_hosts_are_there_each_under_its_own(
    server, environment, wait, redis_server
):
    first, second = (
        server("-w", "2", **environment, GUNICORN_PROMETHEUS_INSTANCE=name).start()
        for name in ("web-1", "web-2")
    )
    for _ in range(10):
        second.get("/")
    second.send(signal.SIGTTIN)
    first.wait_counted("gunicorn_worker_requests_total", 12)
    first.wait_counted("gunicorn_workers_target", 5)

    def is_complete():
        now = status_of(first)
        alive = [worker for worker in now["workers"] if worker["alive"]]
        return len(alive) == 5 and now["master"]["signals"].get("ttin") and now

    now = wait(is_complete, "all are there")
    own = [worker for worker in now["workers"] if worker["instance"] == now["instance"]]
    others = [worker for worker in now["workers"] if worker not in own]
    assert now["instance"].startswith("web-1")
    assert {worker["pid"] for worker in own} == set(first.workers())
    assert {worker["pid"] for worker in others} == {None}
    assert all(worker["memory_bytes"] for worker in own)
    assert not any(worker["memory_bytes"] for worker in others)
    assert sum(worker["requests"]["count"] for worker in own) == 1
    assert sum(worker["requests"]["count"] for worker in others) == 11
    assert (now["requests"]["count"], now["workers_target"]) == (12, 5)
    assert now["master"]["pid"] == first.pid
    assert (now["storage"]["backend"], now["storage"]["up"]) == ("redis", 1)

    redis_server.kill()
    wait(lambda: status_of(first)["storage"]["up"] == 0, "it says that Redis is away")
    now = status_of(first)
    assert now["requests"]["count"] == 12
    assert [worker["alive"] for worker in now["workers"]].count(True) == 2
