"""A server that forgets: wiped, failed over to an older state, evicting, restarted."""

import contextlib
import os
import random
from fractions import Fraction

import pytest

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_storage_redis.run import Run


@pytest.fixture
def environ(environ):
    return environ | {"REDIS_TTL_SECONDS": "10"}


def test_a_wiped_server_is_told_everything_again(host, redis):
    a, b, gone = host("a"), host("b"), host("gone")
    for number, each in enumerate((a, b, gone), 1):
        each.count("x", number)
        each.publish()
    a.storage.retire(gone.instance)
    assert a.totals() == b.totals() == {"x": 6}
    redis.flushall()
    assert a.totals() == b.totals() == {"x": 6}
    a.publish()
    assert a.totals() == b.totals() == {"x": 6}
    b.publish()
    new = host("new")
    assert new.totals() == a.totals() == b.totals() == {"x": 6}


def test_what_was_seen_of_a_host_is_brought_back_when_it_cannot_do_that_itself(host, redis, clock):
    """A host that dies in the same moment as the server."""
    a, b = host("a"), host("b")
    a.count("x", 3)
    b.count("x", 4)
    for each in (a, b):
        each.publish()
    assert a.totals() == {"x": 7}
    redis.flushall()
    assert a.totals() == {"x": 7}
    a.publish()
    assert host("new").totals() == {"x": 7}
    for _ in range(12):
        clock.passed += 1
        a.publish()
    assert not redis.exists(f"test:{b.instance}:meta:state")
    assert host("newer").totals() == a.totals() == {"x": 7}


def test_a_host_that_was_brought_back_goes_on_as_itself(host, redis):
    a, b = host("a"), host("b")
    b.count("x", 4)
    a.publish()
    b.publish()
    a.totals()
    redis.flushall()
    a.totals()
    a.publish()
    b.count("x")
    b.publish()
    assert a.totals() == {"x": 5}
    assert "." not in b.instance


@pytest.mark.parametrize("key", ["metric:values", "meta:keys", "meta:state"])
def test_a_single_key_that_was_evicted_is_stored_again(host, redis, key, caplog):
    a, b = host("a"), host("b")
    a.count("x", 3)
    a.publish()
    b.totals()
    redis.delete(f"test:{a.instance}:{key}")
    assert b.totals() == {"x": 3}
    assert caplog.text.count("can't be read, its former values are used") == (key != "meta:keys")
    for _ in range(3):
        a.publish()
    assert b.totals() == host("new").totals() == {"x": 3}


@pytest.mark.parametrize("key", ["metric:values", "meta:keys", "meta:state", "meta:version"])
def test_an_archive_that_was_evicted_is_stored_again(host, redis, key):
    a, b = host("a"), host("b")
    b.count("x", 4)
    for each in (a, b):
        each.publish()
    b.storage.retire(b.instance)
    a.publish()
    assert a.totals() == {"x": 4}
    redis.delete(f"test:archive:{key}")
    for _ in range(2):
        assert a.totals() == {"x": 4}
        a.publish()
    if key == "meta:version":
        assert host("new").totals() == {"x": 4}


def fall_silent(clock, *living):
    for _ in range(13):
        clock.passed += 1
        for each in living:
            each.publish()


@pytest.mark.parametrize("returns", ["before that is mended", "after"])
def test_who_is_in_the_archive_is_stored_again_when_that_was_evicted(host, redis, clock, returns):
    """A host that comes back would not know that it was taken for dead, and count twice."""
    a, b = host("a"), host("b")
    for each in (a, b):
        each.count("x", 3)
        each.publish()
    assert a.totals() == {"x": 6}
    fall_silent(clock, a)
    assert a.totals() == {"x": 6}
    redis.delete("test:archive:meta:folded")
    b.count("x", 10)
    if returns == "after":
        a.publish()
    b.publish()
    for _ in range(2):
        a.publish()
        b.publish()
    assert a.totals() == b.totals() == host("new").totals() == {"x": 16}


def test_who_comes_back_knows_what_it_has_stored_when_nobody_else_does(host, redis, clock, caplog):
    """What was left of it is kept for a day only, or evicted."""
    a, b = host("a"), host("b")
    for each in (a, b):
        each.count("x", 3)
        each.publish()
    fall_silent(clock, a)
    redis.delete(*redis.keys(f"test:{b.instance}:folded:*"))
    b.count("x", 10)
    b.publish()
    assert a.totals() == b.totals() == host("new").totals() == {"x": 16}
    assert "counts twice" not in caplog.text


def test_an_archive_that_is_damaged_when_a_host_ends_keeps_its_counts(host, redis):
    a, b = host("a"), host("b")
    for each in (a, b):
        each.count("x", 3)
        each.publish()
    a.storage.retire(b.instance)
    a.publish()
    assert a.totals() == {"x": 6}
    redis.delete("test:archive:meta:keys")
    late = host("late")
    late.count("x", 4)
    late.publish()
    late.storage.retire("")
    for _ in range(2):
        a.publish()
    assert a.totals() == host("new").totals() == {"x": 10}


@pytest.mark.parametrize("key", ["metric:values", "meta:keys", "meta:state"])
def test_an_archive_that_nobody_can_read_is_replaced_by_who_remembers_it(host, redis, key):
    a, b = host("a"), host("b")
    b.count("x", 4)
    for each in (a, b):
        each.publish()
    b.storage.retire(b.instance)
    a.publish()
    redis.delete(f"test:archive:{key}")
    late = host("late")
    late.count("x", 1)
    late.publish()
    for _ in range(2):
        a.publish()
        late.publish()
    assert a.totals() == late.totals() == host("new").totals() == {"x": 5}


def test_an_archive_that_is_damaged_just_when_it_gets_more_costs_nobody_who_has_seen_it(
    host, redis
):
    a, b, c = host("a"), host("b"), host("c")
    for each in (a, b, c):
        each.count("x", 4)
        each.publish()
    assert a.totals() == {"x": 12}
    b.storage.retire(b.instance)
    redis.delete("test:archive:meta:keys")
    assert a.totals() == {"x": 12}
    for _ in range(3):
        a.publish()
        c.publish()
        assert a.totals() == {"x": 12}


def test_garbage_in_the_place_of_data_costs_nothing_but_itself(host, redis, caplog):
    a, b, c = host("a"), host("b"), host("c")
    for each in (a, b):
        each.count("x", 3)
        each.publish()
    assert c.totals() == {"x": 6}
    for key, garbage in (("meta:state", b"?"), ("meta:keys", b"\0\0\0\x05xxxxx")):
        redis.set(f"test:{a.instance}:{key}", garbage)
        assert c.totals() == {"x": 6}
        assert host("new").totals() == {"x": 3}
    redis.hset(f"test:{b.instance}:metric:values", "first", "1")
    redis.zadd("test:all:meta:instances", {b"\xff\xfe": 1.0})
    redis.set("test:archive:meta:version", b"mine:\xb2")
    for one in (b, c):
        one.publish()
    assert c.totals() == {"x": 6}
    assert host("new").totals() == {"x": 3}
    assert "can't be read" in caplog.text


def test_keys_of_another_type_are_an_outage(host, redis):
    a = host("a")
    redis.set("test:all:meta:instances", "mine")
    with pytest.raises(StorageUnavailable, match="WRONGTYPE"):
        a.publish()


def test_a_server_that_falls_back_to_an_older_state_is_brought_forward(host, redis):
    """As after a failover to a replica that has lagged behind."""
    a, b, gone = host("a"), host("b"), host("gone")
    for each in (a, b, gone):
        each.count("x", 1)
        each.publish()
    a.totals()
    older = {key: redis.dump(key) for key in redis.keys("*")}
    for each in (a, b, gone):
        each.count("x", 10)
        each.publish()
    a.storage.retire(gone.instance)
    a.publish()
    assert a.totals() == b.totals() == {"x": 33}
    redis.flushall()
    for key, dump in older.items():
        redis.restore(key, 0, dump)
    for each in (a, b):  # as their connections would have been
        each.storage._connection.close()
        each.storage._begin_anew()
    assert a.totals() == b.totals() == {"x": 33}
    a.publish()
    assert a.totals() == b.totals() == {"x": 33}
    b.publish()
    assert a.totals() == b.totals() == host("new").totals() == {"x": 33}


def test_an_archive_begun_meanwhile_is_added_to(host, redis):
    a, first = host("a"), host("first")
    first.count("x", 1)
    a.publish()
    first.publish()
    a.storage.retire(first.instance)
    a.publish()
    assert a.totals() == {"x": 1}
    redis.flushall()
    late, later = host("late"), host("later")
    late.count("x", 10)
    late.publish()
    later.publish()
    later.storage.retire(late.instance)
    assert later.totals() == {"x": 10}
    for _ in range(3):
        a.publish()
        assert a.totals() in ({"x": 1}, {"x": 11})
    later.publish()
    assert a.totals() == later.totals() == host("new").totals() == {"x": 11}


def test_a_connection_that_the_server_has_closed_is_an_outage(host, redis):
    """Behind a new one could be another server, so what it knows must be asked first."""
    a = host("a")
    a.count("x")
    a.publish()
    redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StorageUnavailable):
        a.publish()
    a.publish()
    assert host("b").totals() == {"x": 1}


def test_exporters_that_begin_on_the_same_pages_agree_on_their_instance(tmp_path, monkeypatch):
    load, found = Run.reload, []

    def late(self):
        """The other one begins after we have looked whether there is a file."""
        seen = load(self)
        if not found:
            found.append(None)
            found.append(Run(str(tmp_path), "host").instance)
        return seen

    monkeypatch.setattr(Run, "reload", late)
    assert Run(str(tmp_path), "host").instance == found[-1]
    assert os.listdir(tmp_path) == ["redis.run"]


def test_a_directory_that_cannot_be_written_to_is_said_once(host, tmp_path, caplog, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    a = host("a")
    a.count("x", 3)
    a.publish()
    assert host("b").totals() == {"x": 3}
    assert caplog.text.count("will count twice") == 2  # once for each of the two


class History:
    """What hosts, the server and connections go through, and what a survivor sees of it."""

    def __init__(self, host, redis, clock, seed):
        self.rng = random.Random(seed)
        self.redis, self.clock, self.make = redis, clock, host
        self.survivor = host("survivor")
        self.hosts = [host(f"host-{number}") for number in range(3)]
        self.one = self.hosts[0]
        self.ended = Fraction(0)
        self.seen = {}

    def go_on(self):
        steps = [self.count] * 6 + [self.publish] * 7 + [self.survivors_publish] * 4
        steps += [self.start_exporter, self.wipe, self.cut, self.fall_silent, self.replace]
        steps += [self.take_for_dead, self.evict]
        self.one = self.rng.choice(self.hosts)
        self.rng.choice(steps)()
        self.watch()

    def watch(self):
        """No counter that the survivor shows goes down."""
        try:
            now = self.survivor.totals()
        except StorageUnavailable:
            return
        for name, value in self.seen.items():
            assert now.get(name, 0) >= value, (name, value, now)
        self.seen = now

    def settle(self):
        for _ in range(4):
            for each in (self.survivor, *self.hosts):
                attempt(each.publish)

    def counted(self, one):
        page = one.pages.get(("worker-0", "counter"))
        return sum(map(Fraction, page.values)) if page is not None else 0

    def total(self):
        """What has been counted altogether."""
        return self.ended + sum(map(self.counted, (self.survivor, *self.hosts)))

    def count(self):
        amount = self.rng.choice([1, 2, 0.1, 1e-9])
        one = self.rng.choice([self.one, self.survivor])
        one.count("x", amount, path=str(self.rng.randrange(3)))

    def publish(self):
        attempt(self.one.publish)

    def survivors_publish(self):
        attempt(self.survivor.publish)

    def start_exporter(self):
        self.one.start()

    def wipe(self):
        """After the survivor has seen everything: what nobody remembers is gone."""
        self.settle()
        self.watch()
        self.redis.flushall()

    def cut(self):
        self.redis.client_kill_filter(_type="normal", skipme=True)

    def fall_silent(self):
        self.settle()
        for _ in range(20):
            self.clock.passed += 1
            attempt(self.survivor.publish)
            for each in self.hosts:
                if each is not self.one:
                    attempt(each.publish)

    def replace(self):
        """A host ends, and another one of the same name takes its place."""
        self.settle()
        attempt(lambda: self.one.storage.retire(self.one.instance))
        self.one.storage.close()
        self.ended += self.counted(self.one)
        name = self.one.environ["GUNICORN_PROMETHEUS_INSTANCE"]
        self.hosts[self.hosts.index(self.one)] = self.make(name)

    def take_for_dead(self):
        attempt(lambda: self.survivor.storage.retire(self.one.instance))

    def evict(self):
        """After the survivor has seen who is in the archive: what nobody remembers is gone."""
        self.settle()
        keys = self.redis.keys("test:archive:meta:folded")
        keys += [key for key in self.redis.keys("test:*-*:meta:*") if b":folded:" not in key]
        self.redis.delete(self.rng.choice(sorted(keys) or [b"none"]))
        self.settle()


def attempt(action):
    with contextlib.suppress(StorageUnavailable):
        action()


@pytest.mark.parametrize("seed", range(int(os.environ.get("REDIS_SEEDS", "12"))))
def test_whatever_happens_no_counter_falls_and_every_count_counts_once(host, redis, clock, seed):
    """Random histories against plain arithmetic."""
    history = History(host, redis, clock, seed)
    for _ in range(120):
        history.go_on()
    for _ in range(2):
        history.settle()
        history.watch()
    seen = sum(map(Fraction, history.seen.values()))
    assert seen == pytest.approx(float(history.total()), rel=1e-12)
    for each in (*history.hosts, host("new")):
        # What a host has counted since it was taken for dead is rounded for others.
        assert each.totals() == pytest.approx(history.survivor.totals(), rel=1e-15)
