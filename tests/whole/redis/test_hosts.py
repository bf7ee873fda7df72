"""Three hosts with addresses and pids of their own, and one Redis."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest

NETWORK = f"10.203.{os.getpid() % 250}"
HELLOS = "app_hellos_total"


def ip(*words, check=True):
    subprocess.run(["ip", *words], check=check, capture_output=True)


@pytest.fixture(scope="module")
def network():
    """Namespaces with an address each on a bridge of ours; gives them by address."""
    tag = f"gpx{os.getpid()}"
    bridge, gateway = f"b{tag}"[:15], f"{NETWORK}.1"
    spaces = {f"{NETWORK}.{10 + number}": f"{tag}-{number}" for number in range(3)}
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{gateway}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for number, (address, space) in enumerate(spaces.items()):
            outer = f"v{number}{tag}"[:15]
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", bridge, "up")
            ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield gateway, spaces
    finally:
        for space in spaces.values():
            ip("netns", "del", space, check=False)
        ip("link", "del", bridge, check=False)


@pytest.fixture(scope="module")
def redis_server(start_redis, network):
    gateway, _ = network
    return start_redis("--bind", gateway, "--protected-mode", "no")


@pytest.fixture
def hosts(network, redis_server, redis_settings, server_class, tmp_path):
    """Starts a server with 4 workers on each host, which can be done again; gives them by number.

    The first two have pid namespaces of their own, so the same pids.
    """
    _, spaces = network
    made = []

    def start(number):
        address, space = list(spaces.items())[number]
        folder = tmp_path / f"host{len(made)}"
        folder.mkdir()

        class Host(server_class):
            host = address
            prefix = (
                *("ip", "netns", "exec", space),
                *(
                    ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
                    if number < 2
                    else ()
                ),
            )

        name = {"GUNICORN_PROMETHEUS_INSTANCE": f"host-{number}"}
        redis = {"REDIS_HOST": redis_server.host, "REDIS_PORT": str(redis_server.port)}
        made.append(Host(folder, "-w", "4", **redis_settings, **redis, **name))
        return made[-1].start()

    yield start
    for each in made:
        each.kill()


def can_make_hosts():
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return False
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not can_make_hosts(), reason="needs root and namespaces")


@pytest.mark.timeout(240)
def test_the_sum_is_exact_from_everywhere_whatever_becomes_of_the_hosts(
    hosts, network, redis_server, sidecar, steady, watch, wait, kill_host
):
    gateway, spaces = network
    servers = [hosts(number) for number in range(3)]
    pids = [sorted({int(each.get("/pid")[1]) for _ in range(60)} | set()) for each in servers[:2]]
    assert pids[0] == pids[1]
    observer = sidecar(gateway, REDIS_HOST=redis_server.host, REDIS_PORT=str(redis_server.port))
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(steady(each)) for each in servers]
        stack.enter_context(watch(observer))

        def sent():
            return sum(load.count for load in loads)

        def check(exporters):
            """With all clients paused, everybody shows what they have counted."""
            seen = {}

            def equal():
                seen.update({e.metrics_port: e.scrape().sum(HELLOS) for e in exporters})
                return set(seen.values()) == {sent()}

            wait(equal, lambda: f"{sent()} everywhere; it is {seen}", 10)

        def all_pause():
            for load in loads:
                load.pause()

        def all_resume(number=100):
            for load in loads:
                load.resume()
            before = [load.count for load in loads]
            wait(
                lambda: all(
                    load.errors or load.count > n + number
                    for load, n in zip(loads, before, strict=True)
                ),
                "requests are answered",
                60,
            )

        all_resume(200)
        all_pause()
        check([*servers, observer])
        scrape = servers[0].scrape()
        assert scrape.sum("gunicorn_workers") == 12
        assert len(scrape.values("gunicorn_worker_requests_total")) == 4
        assert scrape.sum("gunicorn_worker_capacity") == 12
        assert scrape.sum("gunicorn_worker_state", state="running") == 12

        # Every host is replaced while the others go on.
        all_resume()
        for number in range(3):
            loads[number].pause()
            servers[number].stop()
            servers[number] = hosts(number)
            loads[number]._server = servers[number]
            loads[number].resume()
        all_resume()
        all_pause()
        check([*servers, observer])
        assert observer.scrape().sum("gunicorn_workers") == 12

        # A host fails.
        all_resume()
        loads[1].pause()
        wait(lambda: servers[1].scrape().sum(HELLOS) >= loads[1].count, "it has counted")
        shown = loads[1].count
        published = servers[1].scrape().sum("gunicorn_exporter_last_publish_timestamp_seconds")
        wait(
            lambda: (
                servers[1].scrape().sum("gunicorn_exporter_last_publish_timestamp_seconds")
                > published
            ),
            "it has published",
        )
        assert loads[1].count == shown
        kill_host(servers[1])
        wait(lambda: observer.scrape().sum("gunicorn_workers") == 8, "it is taken for dead", 30)
        for number in (0, 2):
            loads[number].pause()
        check([servers[0], servers[2], observer])
        instances = redis_server.cli("zrange", "gunicorn:all:meta:instances", 0, -1).split()
        assert not [name for name in instances if name.startswith("host-1-")]

        # A host is cut off for longer than its time, serves on, and comes back.
        space = spaces[servers[2].host]
        loads[0].resume()
        loads[2].pause()
        ip("-n", space, "link", "set", "eth0", "down")
        inside = ["ip", "netns", "exec", space, "python3", "-c", ASK, servers[2].host]
        done = subprocess.run(
            [*inside, str(servers[2].port)], capture_output=True, text=True, check=True
        )
        loads[2].seconds += [0.0] * int(done.stdout)
        wait(lambda: observer.scrape().sum("gunicorn_workers") == 4, "it is taken for dead", 30)
        ip("-n", space, "link", "set", "eth0", "up")
        wait(lambda: observer.scrape().sum("gunicorn_workers") == 8, "it is back", 30)
        loads[2].resume()
        loads[0].pause()
        loads[2].pause()
        check([servers[0], servers[2], observer])


#: Sends requests to a server from within its namespace; says how many.
ASK = """
import sys, urllib.request
for _ in range(50):
    assert urllib.request.urlopen(f"http://{sys.argv[1]}:{sys.argv[2]}/").read() == b"hello"
print(50)
"""
