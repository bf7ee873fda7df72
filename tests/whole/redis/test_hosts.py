"""Three hosts with addresses and pids of their own, and one Redis."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys

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


# Never skipped in CI: there it fails where it can't be done.
pytestmark = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not can_make_hosts(), reason="needs root and namespaces"
)


class Fleet:
    """All hosts, somebody who sends requests to each, and an exporter that has only Redis."""

    def __init__(self, start, servers, loads, observer, wait):
        self._start = start
        self.servers, self.loads, self.observer = servers, loads, observer
        self._wait = wait

    def pause(self, *numbers):
        for number in numbers or range(len(self.loads)):
            self.loads[number].pause()

    def resume(self, *numbers, requests=100):
        """Send requests, and wait until that many have been answered by each."""
        loads = [self.loads[number] for number in numbers or range(len(self.loads))]
        targets = [load.count + requests for load in loads]
        for load in loads:
            load.resume()
        self._wait(
            lambda: all(
                load.errors or load.count >= target
                for load, target in zip(loads, targets, strict=True)
            ),
            "requests are answered",
            60,
        )

    def replace(self, number):
        self.loads[number].pause()
        self.servers[number].stop()
        self.servers[number] = self.loads[number].server = self._start(number)
        self.loads[number].resume()

    def check(self, *numbers):
        """With nobody sending, everybody shows what the clients have counted."""
        exporters = [self.observer, *(self.servers[n] for n in numbers or range(3))]
        sent = sum(load.count for load in self.loads)
        seen = {}

        def equal():
            seen.update({each.metrics_port: each.scrape().sum(HELLOS) for each in exporters})
            return set(seen.values()) == {sent}

        self._wait(equal, lambda: f"{sent} everywhere; it is {seen}", 10)

    def wait_workers(self, number):
        self._wait(
            lambda: self.observer.scrape().sum("gunicorn_workers") == number,
            f"there are {number} workers",
            30,
        )


@pytest.fixture
def fleet(hosts, network, redis_server, sidecar, steady, watch, wait):
    """Three servers under load; no counter of the observer may ever go down."""
    redis_server.cli("flushall")
    servers = [hosts(number) for number in range(3)]
    where = {"REDIS_HOST": redis_server.host, "REDIS_PORT": str(redis_server.port)}
    observer = sidecar(network[0], **where)
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(steady(each)) for each in servers]
        stack.enter_context(watch(observer))
        yield Fleet(hosts, servers, loads, observer, wait)


@pytest.mark.timeout(120)
def test_the_sum_is_exact_from_everywhere_also_after_every_host_is_replaced(fleet):
    one, other = ({int(each.get("/pid")[1]) for _ in range(60)} for each in fleet.servers[:2])
    assert one & other
    fleet.resume(requests=200)
    fleet.pause()
    fleet.check()
    scrape = fleet.servers[0].scrape()
    assert len(scrape.values("gunicorn_worker_requests_total")) == 4
    for name in ("gunicorn_workers", "gunicorn_worker_capacity"):
        assert scrape.sum(name) == 12
    assert scrape.sum("gunicorn_worker_state", state="running") == 12
    fleet.resume()
    for number in range(3):
        fleet.replace(number)
    fleet.resume()
    fleet.pause()
    fleet.check()
    assert fleet.observer.scrape().sum("gunicorn_workers") == 12


@pytest.mark.timeout(120)
def test_what_a_host_has_published_stays_counted_when_it_fails(
    fleet, wait, kill_host, redis_server
):
    fleet.resume()
    fleet.pause(1)
    published = "gunicorn_exporter_last_publish_timestamp_seconds"
    before = fleet.servers[1].scrape().sum(published)
    wait(lambda: fleet.servers[1].scrape().sum(published) > before, "it has published")
    kill_host(fleet.servers[1])
    fleet.wait_workers(8)
    fleet.pause()
    fleet.check(0, 2)
    instances = redis_server.cli("zrange", "gunicorn:all:meta:instances", 0, -1).split()
    assert not [name for name in instances if name.startswith("host-1-")]


@pytest.mark.timeout(120)
def test_a_host_that_was_cut_off_comes_back_with_all_it_has_counted(fleet, network):
    fleet.resume()
    fleet.pause(2)
    server = fleet.servers[2]
    space = network[1][server.host]
    ip("-n", space, "link", "set", "eth0", "down")
    inside = ["ip", "netns", "exec", space, sys.executable, "-c", ASK]
    inside += [server.host, str(server.port), str(server.metrics_port)]
    done = subprocess.run(inside, capture_output=True, text=True, check=True)
    assert "gunicorn_exporter_storage_up 0.0" in done.stdout
    fleet.loads[2].seconds += [0.0] * 50
    fleet.wait_workers(8)  # longer than it may be silent
    ip("-n", space, "link", "set", "eth0", "up")
    fleet.wait_workers(12)
    fleet.resume(2)
    fleet.pause()
    fleet.check()
    assert "taken for dead; it goes on as" in server.log


#: Sends 50 requests to a server from within its namespace, then gives its metrics.
ASK = """
import sys, urllib.request
host, port, metrics_port = sys.argv[1:]
for _ in range(50):
    assert urllib.request.urlopen(f"http://{host}:{port}/").read() == b"hello"
print(urllib.request.urlopen(f"http://{host}:{metrics_port}/metrics").read().decode())
"""
