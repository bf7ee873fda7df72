"""Whatever happens to Redis: no request notices, no counter goes down, and all is counted."""

from __future__ import annotations

import contextlib
import http.client
import re
import time

import pytest

HELLOS = "app_hellos_total"


@pytest.fixture(scope="module")
def pair(redis_server, redis_settings, proxy, server_class, tmp_path_factory):
    """Two servers that reach Redis through a proxy of ours."""
    made = []
    for name in ("one", "other"):
        environment = {
            **redis_settings,
            "REDIS_PORT": str(proxy.port),
            "REDIS_USERNAME": "exporter",
            "REDIS_PASSWORD": "sesame",
            # Nobody is to be taken for dead here.
            "REDIS_TTL_SECONDS": "60",
            "GUNICORN_PROMETHEUS_INSTANCE": name,
        }
        made.append(server_class(tmp_path_factory.mktemp(name), "-w", "2", **environment))
    let_in(redis_server)
    for each in made:
        each.start()
    yield made
    for each in made:
        each.kill()


def let_in(redis, *rules):
    redis.cli("acl", "setuser", "exporter", "reset", "on", ">sesame", "~*", "+@all", *rules)


def disconnect(redis):
    redis.cli("client", "kill", "type", "normal")


@contextlib.contextmanager
def killed_and_restarted_empty(redis, proxy):
    redis.kill()
    try:
        yield
    finally:
        redis.start()
        let_in(redis)


@contextlib.contextmanager
def wiped(redis, proxy):
    redis.cli("flushall")
    yield


@contextlib.contextmanager
def paused(redis, proxy):
    redis.pause()
    start = time.monotonic()
    try:
        yield
    finally:
        time.sleep(max(0.0, 20 - (time.monotonic() - start)))
        redis.go_on()


@contextlib.contextmanager
def unreachable(redis, proxy):
    proxy.refuses = True
    proxy.cut()
    try:
        yield
    finally:
        proxy.refuses = False


@contextlib.contextmanager
def slow(redis, proxy):
    proxy.delay = 2.0
    try:
        yield
    finally:
        proxy.delay = 0.0


@contextlib.contextmanager
def out_of_memory(redis, proxy):
    redis.cli("config", "set", "maxmemory", "1")
    try:
        yield
    finally:
        redis.cli("config", "set", "maxmemory", "0")


@contextlib.contextmanager
def refusing_the_password(redis, proxy):
    redis.cli("acl", "setuser", "exporter", "resetpass", ">another")
    disconnect(redis)
    try:
        yield
    finally:
        let_in(redis)


@contextlib.contextmanager
def forbidding_a_command(redis, proxy):
    let_in(redis, "-hset", "-hgetall")
    try:
        yield
    finally:
        let_in(redis)


@contextlib.contextmanager
def read_only(redis, proxy):
    redis.cli("replicaof", "127.0.0.1", "1")
    try:
        yield
    finally:
        redis.cli("replicaof", "no", "one")


#: What is done, and what the log says of it (a pattern); None where it is over too soon to be seen.
FAULTS = {
    killed_and_restarted_empty: "[Cc]onnection",
    wiped: None,
    paused: "[Tt]imeout",
    unreachable: "[Cc]onnection",
    slow: "[Tt]imeout",
    out_of_memory: "maxmemory",
    refusing_the_password: "password",
    forbidding_a_command: "hset",
    read_only: "read only replica",
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_redis(pair, redis_server, proxy, steady, watch, wait, fault):
    one, other = pair
    before = [each.scrape().sum(HELLOS) for each in pair]
    wait(lambda: is_up(one) and is_up(other), "both publish")
    wait(lambda: one.scrape().sum(HELLOS) == other.scrape().sum(HELLOS), "both see the same")
    before = one.scrape().sum(HELLOS)
    said = len(one.log)
    with steady(one) as load, steady(other) as other_load, watch(one), watch(other):
        more(load, 150, wait)
        calm, usual = load.count, load.p99()
        with fault(redis_server, proxy):
            if FAULTS[fault] is not None:
                wait(lambda: not is_up(one), "it notices")
                errors = one.scrape().sum("gunicorn_exporter_publish_errors_total")
                published = one.scrape().sum("gunicorn_exporter_last_publish_timestamp_seconds")
            more(load, 150, wait)
            if FAULTS[fault] is not None:
                load.pause()
                start = time.monotonic()
                scrape = one.scrape()
                assert time.monotonic() - start < 1.0
                # Its own host's values are as they are.
                assert scrape.sum(HELLOS) >= before + load.count
                load.resume()
                wait(
                    lambda: one.scrape().sum("gunicorn_exporter_publish_errors_total") > errors,
                    "errors are counted",
                )
                assert scrape.sum("gunicorn_exporter_last_publish_timestamp_seconds") == published
                wait(lambda: re.search(FAULTS[fault], one.log[said:]), lambda: one.log[said:])
        more(load, 50, wait)
        assert load.p99(calm) < 3 * usual + 0.1
        load.pause()
        other_load.pause()
        total = before + load.count + other_load.count
        for each in pair:
            each.wait_counted(HELLOS, total)
            wait(lambda each=each: is_up(each), "it is up again")
    assert one.log[said:].count("is not available") <= 5
    assert "Traceback" not in one.log[said:]
    assert "sesame" not in one.log


def more(load, number, wait):
    target = load.count + number
    wait(lambda: load.errors or load.count >= target, "requests are answered", 60)


def is_up(server):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return server.scrape().sum("gunicorn_exporter_storage_up") == 1
    return False


@pytest.mark.timeout(120)
def test_redis_may_appear_later(
    server, redis_settings, free_port, start_redis, wait, load, redis_server
):
    port = free_port()
    gunicorn = server("-w", "2", **redis_settings, REDIS_PORT=str(port)).start()
    with load(gunicorn) as client:
        client.more(50)
        client.pause()
        assert gunicorn.scrape().sum("gunicorn_exporter_storage_up") == 0
        gunicorn.wait_counted(HELLOS, client.answers["/", 200])
        start_redis("--port", str(port))
        wait(lambda: is_up(gunicorn), "it is up")
        client.resume()
        client.more(50)
        client.pause()
    scrape = gunicorn.wait_counted(HELLOS, client.answers["/", 200])
    assert scrape.sum("gunicorn_exporter_storage_up") == 1
    assert gunicorn.log.count("publishing works again") == 1
