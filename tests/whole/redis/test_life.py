"""Servers that begin and end, and what others see of that."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

HELLOS = "app_hellos_total"
SECRET = "s3cr3t-sesame"


@pytest.fixture
def environment(redis_server, redis_settings):
    redis_server.cli("flushall")
    return {**redis_settings, "REDIS_PORT": str(redis_server.port)}


@pytest.fixture
def observer(environment, sidecar):
    return sidecar(REDIS_PORT=environment["REDIS_PORT"])


def directory_of(gunicorn):
    """The private directory that a server has made."""
    command = psutil.Process(gunicorn.exporter()).cmdline()
    path = Path(command[command.index("--directory") + 1])
    assert path.parent == Path("/dev/shm")
    assert {"redis.run", "private"} <= {file.name for file in path.iterdir()}
    return path


def hello(gunicorn, number):
    for _ in range(number):
        assert gunicorn.get("/") == (200, b"hello")


def test_the_last_values_are_published_at_the_end(
    server, environment, observer, redis_server, wait
):
    # So that nothing but the end publishes them.
    rarely = {"GUNICORN_PROMETHEUS_PUBLISH_SECONDS": "30", "REDIS_TTL_SECONDS": "100"}
    gunicorn = server("-w", "2", **{**environment, **rarely}).start()
    index = "zrange", "gunicorn:all:meta:instances", 0, -1
    wait(lambda: redis_server.cli(*index).split(), "its start is published")
    hello(gunicorn, 25)
    directory = directory_of(gunicorn)
    assert observer.scrape().sum(HELLOS) == 0
    gunicorn.stop()
    scrape = observer.scrape()
    assert scrape.sum(HELLOS) == 25
    # It has ended for good: nobody has to wait until it is dead.
    assert scrape.sum("gunicorn_workers") == 0
    assert len(redis_server.cli(*index).split()) == 1
    assert not directory.exists()


def test_a_server_publishes_while_its_metrics_port_is_taken(
    server, environment, observer, wait, free_port
):
    """As that of a sidecar is, which shares the server's network and was there first."""
    port = free_port()
    gunicorn = server("-w", "2", **environment | {"PROMETHEUS_METRICS_PORT": str(port)})
    gunicorn.metrics_port = port
    with socket.create_server(("127.0.0.1", port)):
        gunicorn.start(ready=False)
        wait(gunicorn.answers, lambda: gunicorn.end_of_log)
        hello(gunicorn, 10)
        wait(lambda: observer.scrape().sum(HELLOS) == 10, lambda: gunicorn.end_of_log)
        first = gunicorn.exporter()
    wait(gunicorn.is_scrapable, lambda: gunicorn.end_of_log)
    assert gunicorn.exporter() != first
    hello(gunicorn, 10)
    wait(lambda: observer.scrape().sum(HELLOS) == 20, "further counts are published")
    scrape = gunicorn.wait_counted(HELLOS, 20)
    assert scrape.sum("gunicorn_exporter_bind_failures_total") >= 1
    assert scrape.sum("gunicorn_exporter_restarts_total") == 0, gunicorn.end_of_log


def test_what_is_measured_of_workers_is_seen_by_others(server, environment, observer, wait):
    """Also of a server that serves no metrics itself, beside which a sidecar does that."""
    first = server("-w", "2", **environment, SIDECAR_MODE="true").start(ready=False)
    memory = "gunicorn_worker_memory_bytes"

    def seen_by(served, least):
        """A scrape with the memory of both numbers."""
        found = served.scrape()
        return len(found.values(memory)) == 2 and found.sum(memory) > least and found

    wait(first.answers, lambda: first.end_of_log)
    scrape = wait(lambda: seen_by(observer, 2 * 10e6), lambda: first.end_of_log)
    for name in ("cpu_percent", "threads", "open_fds"):
        assert len(scrape.values(f"gunicorn_worker_{name}")) == 2, name
    # Workers of one number are added up, wherever they are.
    more = 1.5 * scrape.sum(memory)
    second = server("-w", "2", **environment).start()
    wait(lambda: seen_by(observer, more), lambda: second.end_of_log)
    both = wait(lambda: seen_by(second, more), lambda: second.end_of_log)
    first.stop()
    assert 0 < second.scrape().sum(memory) < 0.75 * both.sum(memory)
    second.stop()
    assert not observer.scrape().values(memory)


def test_an_exporter_process_that_is_killed_changes_nothing(server, environment, observer, wait):
    gunicorn = server("-w", "2", **environment).start()
    for turn in range(1, 4):
        hello(gunicorn, 10)
        first = gunicorn.exporter()
        os.kill(first, signal.SIGKILL)
        wait(lambda first=first: gunicorn.pids("_server") not in ([], [first]), "another one")
        wait(lambda turn=turn: observer.scrape().sum(HELLOS) == 10 * turn, "the same counts")
    assert gunicorn.scrape().sum(HELLOS) == 30


def test_an_upgrade_counts_nothing_twice(server, environment, observer, wait, tmp_path):
    gunicorn = server("-w", "2", "-p", str(tmp_path / "pid"), **environment).start()
    hello(gunicorn, 10)
    wait(lambda: observer.scrape().sum(HELLOS) == 10, "it is published")
    gunicorn.send(signal.SIGUSR2)
    upgraded = tmp_path / "pid.2"
    wait(upgraded.exists, "there is a new master")
    new = int(wait(upgraded.read_text, "it has written its pid"))
    wait(lambda: gunicorn.pids("gunicorn_prometheus_server", new), "it has an exporter process")
    wait(lambda: observer.scrape().sum("gunicorn_workers") == 4, "all are there")
    os.kill(gunicorn.pid, signal.SIGTERM)
    gunicorn.process.wait(30)
    with contextlib.suppress(psutil.NoSuchProcess):
        hello(gunicorn, 5)
    wait(lambda: observer.scrape().sum(HELLOS) == 15, lambda: str(observer.scrape().sum(HELLOS)))
    wait(lambda: observer.scrape().sum("gunicorn_workers") == 2, "the old ones are gone")
    os.kill(new, signal.SIGTERM)
    wait(lambda: observer.scrape().sum("gunicorn_workers") == 0, "all are gone")
    assert observer.scrape().sum(HELLOS) == 15


def test_in_sidecar_mode_it_publishes_and_serves_nothing(server, environment, observer, wait):
    gunicorn = server("-w", "2", **environment, SIDECAR_MODE="true")
    gunicorn.start(ready=False)
    wait(gunicorn.answers, lambda: gunicorn.log)
    hello(gunicorn, 10)
    wait(lambda: observer.scrape().sum(HELLOS) == 10, lambda: gunicorn.log)
    assert not gunicorn.is_scrapable()
    gunicorn.stop()
    assert observer.scrape().sum(HELLOS) == 10


def test_a_sidecar_of_scope_instance_shows_its_own_host_only(
    server, environment, observer, sidecar, tmp_path, wait
):
    scope = {"GUNICORN_PROMETHEUS_SCOPE": "instance"}
    one, other = (server("-w", "1", **environment, **scope).start() for _ in range(2))
    hello(one, 3)
    hello(other, 4)
    assert one.scrape().sum(HELLOS) == 3
    assert other.scrape().sum(HELLOS) == 4
    wait(lambda: observer.scrape().sum(HELLOS) == 7, "the sum")


def test_everything_killed_leaves_nothing_that_stays(server, environment, kill_host):
    gunicorn = server("-w", "2", **environment).start()
    hello(gunicorn, 3)
    directory = directory_of(gunicorn)
    kill_host(gunicorn)
    with contextlib.suppress(FileNotFoundError):  # removed by a server that others have started
        os.utime(directory / "private", (0, 0))  # it has been there for a while
    server("-w", "2", **environment).start()
    assert not directory.exists()


def test_what_is_about_the_storage_is_there_from_the_beginning(server, environment):
    named = server("-w", "1", **environment).start().scrape().text
    for name in ("storage_up", "last_publish_timestamp_seconds"):
        assert f"# TYPE gunicorn_exporter_{name} gauge" in named
    # On a busy machine the first answer of Redis may come too late, and is counted.
    for name in ("publish_errors_total", "collect_errors_total"):
        assert f"\ngunicorn_exporter_{name} " in named


def test_no_secret_is_told(server, environment, redis_server, wait):
    redis_server.cli("acl", "setuser", "locked", "reset", "on", ">another", "~*", "+@all")
    secrets = {"REDIS_USERNAME": "locked", "REDIS_PASSWORD": SECRET}
    url = f"redis://locked:{SECRET}@127.0.0.1:{environment['REDIS_PORT']}"
    for more in (secrets, {"REDIS_URL": url}):
        gunicorn = server("-w", "1", "--log-level", "debug", **{**environment, **more}).start()
        wait(lambda gunicorn=gunicorn: "password" in gunicorn.log, "it is refused")
        pages = gunicorn.scrape().text
        for path in ("", "-/ready", "-/healthy", "nowhere"):
            address = f"http://127.0.0.1:{gunicorn.metrics_port}/{path}"
            with contextlib.suppress(urllib.error.HTTPError):
                pages += urllib.request.urlopen(address).read().decode()
        commands = [Path(f"/proc/{one.pid}/cmdline").read_text() for one in gunicorn.family()]
        assert len(commands) >= 3
        stored = redis_server.cli("--raw", "keys", "*")
        for told in (gunicorn.log, pages, stored, *commands):
            assert SECRET not in told
        gunicorn.stop()


def test_a_sidecar_tells_whether_redis_is_there(
    server, environment, sidecar, redis_server, tmp_path, wait
):
    gunicorn = server("-w", "1", **environment, SIDECAR_MODE="true")
    gunicorn.start(ready=False)
    wait(gunicorn.answers, lambda: gunicorn.log)
    hello(gunicorn, 3)
    beside = sidecar(**environment)
    wait(lambda: beside.scrape().sum(HELLOS) == 3, "it shows what was published")
    now = beside.scrape()
    assert now.values("gunicorn_sidecar_redis_connected") == {(): 1}
    assert now.values("gunicorn_sidecar_multiproc_files_count") == {(): 0}
    redis_server.pause()
    try:
        wait(
            lambda: beside.scrape().values("gunicorn_sidecar_redis_connected") == {(): 0},
            "it says that Redis is away",
        )
        assert beside.scrape().sum(HELLOS) == 3
    finally:
        redis_server.go_on()
