"""The compose files, as they are, with exact counts."""

from __future__ import annotations

import json
import urllib.parse

from .conftest import (
    APP,
    Server,
    fetch,
    is_restricted,
    logs_on_failure,
    scrape,
    total,
    wait,
    wait_total,
)

REQUESTS = "gunicorn_worker_requests_total"


def up(compose, files, *services):
    compose(files, "up", "--detach", "--no-build", *services)


def test_embedded(engine, compose):
    up(compose, ["embedded"])
    with logs_on_failure(engine, "shop_app_1"):
        server = Server()
        server.order("tea", 20)
        wait_total(server.answered, REQUESTS)
        assert total("shop_orders_total", scrape(), item="tea") == 20
        assert total("gunicorn_workers", scrape()) == 2
        is_restricted(engine, "shop_app_1")
        engine.podman("healthcheck", "run", "shop_app_1")


def test_files(engine, compose):
    up(compose, ["files"])
    with logs_on_failure(engine, "shop_app_1", "shop_sidecar_1"):
        server = Server()
        server.order("tea", 20)
        wait_total(server.answered, REQUESTS)
        samples = scrape()
        assert total("shop_orders_total", samples, item="tea") == 20
        # It sees the processes of the other container, and measures them.
        assert (total("gunicorn_worker_memory_bytes", samples) or 0) > 2 * 10e6
        assert (total("gunicorn_worker_threads", samples) or 0) >= 2
        for container in ("shop_app_1", "shop_sidecar_1"):
            is_restricted(engine, container)
            engine.podman("healthcheck", "run", container)
        server.answered += 1  # the check of the application is a request
        refused = engine.podman(
            "exec", "shop_sidecar_1", "touch", "/tmp/prometheus_multiproc/file", check=False
        )
        assert "Read-only file system" in refused

        engine.podman("kill", "--signal", "KILL", "shop_sidecar_1")
        engine.podman("start", "shop_sidecar_1")
        server.order("coffee", 5)
        wait_total(server.answered, REQUESTS)


def test_redis(engine, compose):
    up(compose, ["redis"])
    containers = ["shop_app_1", "shop_sidecar_1", "shop_redis_1"]
    with logs_on_failure(engine, *containers):
        server = Server()
        server.order("tea", 20)
        wait_total(server.answered, REQUESTS)
        for container in containers:
            is_restricted(engine, container)
        engine.podman("healthcheck", "run", "shop_sidecar_1")

        # A second server, of which nobody has been told.
        environment = ["--env", "REDIS_ENABLED=true", "--env", "REDIS_HOST=redis"]
        limits = ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
        publish = ["--publish", "127.0.0.1:8001:8000", "--network", "shop_default"]
        engine.podman("run", "--detach", "--name", "second", *environment, *limits, *publish, APP)
        second = Server("127.0.0.1:8001")
        second.order("tea", 10)
        wait_total(server.answered + second.answered, REQUESTS)
        wait_total(30, "shop_orders_total", item="tea")
        wait_total(4, "gunicorn_workers")

        # It ends, and is killed with its whole container; nothing that was published is lost.
        engine.podman("rm", "--force", "--time", "10", "second")
        wait_total(server.answered + second.answered, REQUESTS)
        engine.podman("kill", "--signal", "KILL", "shop_app_1")
        wait_total(30, "shop_orders_total", item="tea")

        # Redis comes back empty, and is given everything anew by who still knows it.
        engine.podman("exec", "shop_redis_1", "redis-cli", "FLUSHALL")
        wait_total(server.answered + second.answered, REQUESTS)
        wait_total(1, "gunicorn_sidecar_redis_connected")


def test_stack(engine, compose):
    """With Prometheus; there is no stand-in for Grafana."""
    up(compose, ["files", "stack"], "app", "sidecar", "prometheus")
    with logs_on_failure(engine, "shop_prometheus_1", "shop_sidecar_1"):
        server = Server()
        server.order("tea", 20)

        def ask(query: str) -> dict[str, float]:
            url = f"http://127.0.0.1:9090/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            status, body = fetch(url)
            found = json.loads(body)["data"]["result"] if status == 200 else []
            return {one["metric"].get("instance", ""): float(one["value"][1]) for one in found}

        wait(lambda: ask("up") == {"metrics:9091": 1.0}, lambda: f"up: {ask('up')}", 60)
        expected = {"": float(server.answered)}
        query = f"sum({REQUESTS})"
        wait(lambda: ask(query) == expected, lambda: f"{ask(query)}, not {expected}", 60)
        assert ask("sum(shop_orders_total)") == {"": 20.0}
