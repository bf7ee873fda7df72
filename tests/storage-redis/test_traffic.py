"""How many commands and bytes it takes."""

import pytest

FORBIDDEN = {b"KEYS", b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN", b"EVAL", b"EVALSHA", b"FCALL"}


def publish_and_collect(host, wire, series):
    """The commands of a publish that changes all series, and of a collect."""
    apart = {"REDIS_KEY_PREFIX": f"with-{series}"}
    a = host("a", REDIS_PORT=str(wire.port), **apart)
    b = host("b", **apart)
    for number in range(series):
        b.count("x", path=f"/{number}")
        a.count("x", path=f"/{number}")
    a.publish()
    b.publish()
    a.storage.collect()
    for number in range(series):
        a.count("x", path=f"/{number}")
        b.count("x", path=f"/{number}")
    a.count("new")
    b.count("new")
    b.publish()
    wire.clear()
    a.publish()
    published = wire.commands()
    wire.clear()
    a.storage.collect()
    return published, wire.commands()


def names(commands):
    return [words[0].upper() for words in commands]


def test_the_number_of_commands_does_not_depend_on_the_number_of_series(host, wire):
    few = publish_and_collect(host, wire, 100)
    many = publish_and_collect(host, wire, 10_000)
    for one, other in zip(few, many, strict=True):
        assert names(one) == names(other)
        assert names(one)[0] == b"MULTI"
        assert names(one)[-1] == b"EXEC"
        assert names(one).count(b"MULTI") == 1  # one round trip
        assert not FORBIDDEN & set(names(one))


def test_nothing_ever_searches_for_keys(host, wire, monkeypatch):
    a = host("a", REDIS_PORT=str(wire.port))
    b = host("b")
    for each in (a, b):
        each.count("x")
        each.publish()
    a.storage.collect()
    a.storage.retire(b.instance)
    a.publish()
    a.storage.collect()
    a.storage.retire(a.instance)
    assert not FORBIDDEN & set(names(wire.commands()))


def test_only_changed_chunks_are_sent(host, wire):
    a = host("a", REDIS_PORT=str(wire.port))
    for number in range(10_000):
        a.count("x", path=f"/{number}")
    a.publish()
    a.count("x", path="/5000")
    wire.clear()
    a.publish()
    assert len(wire.sent) < 512 * 8 + 1500


@pytest.mark.parametrize("others", [0, 2])
def test_an_idle_host_sends_a_heartbeat_only(host, wire, others):
    hosts = [host(f"host-{number}") for number in range(others)]
    a = host("web-7f9c6d5b4-x2x9z", REDIS_PORT=str(wire.port))
    for each in (a, *hosts):
        each.count("x")
        each.publish()
    a.publish()
    wire.clear()
    for _ in range(10):
        a.publish()
    seconds = 10 * 2.0  # by default
    assert len(wire.sent) / seconds < 200
    assert b"HSET" not in names(wire.commands())


def test_a_collect_reads_only_keys_that_are_new(host, wire):
    a, b = host("a", REDIS_PORT=str(wire.port)), host("b")
    for number in range(1000):
        b.count("x", path=f"/{number}")
    b.publish()
    a.publish()
    a.storage.collect()
    wire.clear()
    a.storage.collect()
    assert len(wire.received) < 8 * 1000 + 1500
