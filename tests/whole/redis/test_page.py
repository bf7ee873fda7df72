"""What the page shows where hosts share a Redis."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright


@pytest.fixture
def environment(redis_server, redis_settings):
    redis_server.cli("flushall")
    return {**redis_settings, "REDIS_PORT": str(redis_server.port)}


def status_of(gunicorn):
    url = f"http://{gunicorn.host}:{gunicorn.metrics_port}/api/v1/status"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_workers_stand_below_the_names_of_their_hosts(server, environment):
    names = [f"checkout-web-6f7d8c9b5d-{pod}" for pod in ("7hjvn", "x2k9q")]
    gunicorn, _ = (
        server("-w", "2", **environment, GUNICORN_PROMETHEUS_INSTANCE=name).start()
        for name in names
    )
    gunicorn.wait_counted("gunicorn_workers", 4)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 375, "height": 812})
        page.goto(f"http://127.0.0.1:{gunicorn.metrics_port}/")
        heads = page.locator("#workers tbody").get_by_role("rowheader")
        expect(heads).to_have_count(6, timeout=20_000)
        said = heads.all_inner_texts()
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        assert Axe().run(page).violations_count == 0
        browser.close()
    assert [text.rpartition("-")[0] for text in said[::3]] == names
    assert said[1:3] == said[4:] == ["0", "1"]


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
