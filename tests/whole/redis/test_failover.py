"""Servers under load whose Redis fails over, by Sentinels and in a cluster."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

HELLOS = "app_hellos_total"
PASSWORD = "sesame"


@pytest.fixture
def pair(server, redis_settings):
    """Starts two servers with these settings."""

    def start(**environment):
        return [
            server(
                *("-w", "2"),
                **redis_settings | {"REDIS_TTL_SECONDS": "60"} | environment,
                GUNICORN_PROMETHEUS_INSTANCE=name,
            ).start()
            for name in ("one", "other")
        ]

    return start


def fails_over(servers, kill, steady, watch, wait):
    """No request fails, no counter goes down, and in the end all is counted."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(steady(each)) for each in servers]
        for each in servers:
            wait(lambda each=each: is_up(each), lambda each=each: each.log, 60)
        for each in servers:
            stack.enter_context(watch(each))
        more(loads, 100, wait)
        kill()
        wait(lambda: not is_up(servers[0]), "it notices")
        more(loads, 100, wait)
        for each in servers:
            wait(lambda each=each: is_up(each), lambda each=each: each.log, 60)
        more(loads, 50, wait)
        for load in loads:
            load.pause()
        total = sum(load.count for load in loads)
        for each in servers:
            each.wait_counted(HELLOS, total)


def more(loads, number, wait):
    targets = [load.count + number for load in loads]
    wait(
        lambda: all(
            load.errors or load.count >= target for load, target in zip(loads, targets, strict=True)
        ),
        "requests are answered",
        60,
    )


def is_up(server):
    return server.scrape().sum("gunicorn_exporter_storage_up") == 1


@pytest.mark.timeout(180)
def test_sentinels_promote_the_replica(pair, start_redis, start_sentinel, steady, watch, wait):
    secured = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    master = start_redis(*secured)
    replica = start_redis(*secured, "--replicaof", f"127.0.0.1 {master.port}")
    replica.cli_options = ["-a", PASSWORD, "--no-auth-warning"]
    sentinels = [start_sentinel(master.port, PASSWORD) for _ in range(3)]
    servers = pair(
        REDIS_SENTINELS=",".join(f"127.0.0.1:{each.port}" for each in sentinels),
        REDIS_SENTINEL_SERVICE="metrics",
        REDIS_PASSWORD=PASSWORD,
    )
    wait(lambda: "master_link_status:up" in replica.cli("info", "replication"), "it replicates")
    for each in sentinels:
        wait(lambda each=each: "slaves=1,sentinels=3" in each.cli("info"), "they see each other")
    fails_over(servers, master.kill, steady, watch, wait)


@pytest.mark.timeout(180)
def test_a_node_of_a_cluster_is_killed(pair, start_redis, steady, watch, wait):
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    nodes = [start_redis(*options) for _ in range(6)]
    command = ["redis-cli", "--cluster", "create", *(f"127.0.0.1:{n.port}" for n in nodes)]
    subprocess.run(
        [*command, "--cluster-replicas", "1", "--cluster-yes"], check=True, capture_output=True
    )
    wait(lambda: all("cluster_state:ok" in n.cli("cluster", "info") for n in nodes), "it is ready")
    # By a node that stays.
    slot = nodes[0].cli("cluster", "keyslot", "{gunicorn}")
    shares = (int(slot) * 3) // 16384
    seed = nodes[(shares + 1) % 3]
    servers = pair(REDIS_CLUSTER="true", REDIS_PORT=str(seed.port))

    def owner():
        masters = [n for n in nodes[:3] if n.cli("keys", "*")]
        return masters[0] if masters else None

    node = wait(owner, "somebody has our keys")
    assert node is not seed
    wait(lambda: "state=online" in node.cli("info", "replication"), "it has a replica")
    fails_over(servers, node.kill, steady, watch, wait)
