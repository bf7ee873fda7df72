"""Instances that are gone: what they have counted stays, once."""

import contextlib
import json
import threading

import pytest

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_redis.counts import plus

TTL = 10.0


@pytest.fixture
def environ(environ):
    return environ | {"REDIS_TTL_SECONDS": str(TTL)}


@pytest.fixture
def die(clock):
    """Lets the time of everybody pass who is not among these."""

    def pass_time(*living):
        for _ in range(13):
            clock.passed += 1
            for each in living:
                each.publish()

    return pass_time


def names(redis):
    return sorted(
        name.decode().rpartition("-")[0] for name in redis.zrange("test:all:meta:instances", 0, -1)
    )


def test_the_counts_of_a_dead_host_stay_and_its_keys_go(host, die, redis):
    a, b = host("a"), host("b")
    a.count("x", 3)
    b.count("x", 4)
    b.count("y", 0.1, process="worker-3")
    b.set("live", 1, "livesum")
    b.set("kept", 1, "sum")
    b.set("greatest", 8, "max")
    b.set("each", 8, "all")
    a.publish()
    b.publish()
    assert names(redis) == ["a", "b"]
    before = a.totals()
    die(a)
    assert names(redis) == ["a"]
    assert a.totals() == before == {"x": 7, "y": 0.1}
    kinds = {snapshot.kind for snapshot in a.storage.collect()}
    assert kinds == {"counter", "gauge_sum", "gauge_max"}
    left = [key for key in redis.keys(f"test:{b.instance}*") if b":folded:" not in key]
    assert not left


def test_a_heartbeat_is_enough_to_live(host, die):
    a, b = host("a"), host("b")
    b.count("x", 4)
    b.publish()
    die(a, b)
    assert b.instance == b.storage.instance
    assert a.totals() == {"x": 4}
    assert "." not in b.instance


def test_time_in_which_nobody_could_look_does_not_count(host, clock, redis):
    a, b = host("a"), host("b")
    b.count("x")
    for each in (a, b):
        each.publish()
    clock.passed += 100
    a.publish()
    assert names(redis) == ["a", "b"]


def test_nobody_dies_where_that_is_disabled(host, die, redis):
    a, b = host("a", REDIS_TTL_DISABLED="true"), host("b", REDIS_TTL_DISABLED="true")
    for each in (a, b):
        each.publish()
    die(a)
    assert names(redis) == ["a", "b"]


def test_a_host_that_comes_back_is_not_counted_twice(host, die, redis):
    a, b = host("a"), host("b")
    a.count("x", 3)
    b.count("x", 4)
    b.count("seconds", 0.1)
    b.set("kept", 5, "sum")
    a.publish()
    b.publish()
    name = b.instance
    for turn in range(1, 4):
        die(a)
        b.count("x", 10)  # while it was taken for dead
        b.count("seconds", 0.1)
        b.publish()
        assert b.instance == f"{name}.{turn}"
        assert (
            a.totals()
            == b.totals()
            == {"x": 7 + 10 * turn, "seconds": pytest.approx(0.1 + 0.1 * turn)}
        )
        sums = [
            one.values[at] for one in b.everything() if one.kind == "gauge_sum" for at in one.at
        ]
        assert sum(sums) == 5
    b.start()  # and a new exporter process knows it as well
    b.publish()
    assert a.totals()["x"] == b.totals()["x"] == 37


def test_it_notices_by_a_scrape_as_well(host, die):
    a, b = host("a"), host("b")
    b.count("x", 4)
    a.publish()
    b.publish()
    die(a)
    assert b.totals() == {"x": 4}
    assert b.totals() == {"x": 4}


def test_a_new_exporter_process_notices_as_well(host, die):
    a, b = host("a"), host("b")
    b.count("x", 4)
    a.publish()
    b.publish()
    b.storage.close()
    die(a)
    b.start()
    b.count("x")
    b.publish()
    assert a.totals() == b.totals() == {"x": 5}


def test_several_that_fold_at_once_count_once(host, clock, redis):
    hosts = [host(f"h{number}") for number in range(5)]
    dead = host("dead")
    for number in range(500):
        dead.count("x", number, path=f"/{number}")
    for each in (*hosts, dead):
        each.publish()
    before = hosts[0].totals()
    together = threading.Barrier(len(hosts))
    errors = []

    def retire(one):
        try:
            together.wait()
            one.storage.retire(dead.instance)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=retire, args=(each,)) for each in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert redis.get("test:archive:meta:version").split(b":")[1] == b"1"
    for each in hosts:
        assert each.totals() == before


def test_a_graceful_end_keeps_the_counts_at_once(host, redis):
    a, b = host("a"), host("b")
    b.count("x", 4)
    b.set("live", 1, "livesum")
    a.publish()
    b.publish()
    b.storage.retire(b.instance)
    assert names(redis) == ["a"]
    assert a.totals() == {"x": 4}
    # On the same pages, should they be continued, it goes on from there.
    b.start()
    b.count("x")
    b.publish()
    assert a.totals() == b.totals() == {"x": 5}


def test_all_may_end_at_the_same_time(host, redis):
    """As when an application is deployed."""
    a = host("a")
    hosts = [host(f"h{number}") for number in range(12)]
    for each in (a, *hosts):
        each.count("x", 1)
        each.publish()
    together = threading.Barrier(len(hosts))

    def end(one):
        together.wait()
        one.storage.retire(one.instance)

    threads = [threading.Thread(target=end, args=(each,)) for each in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(redis) == ["a"]
    assert a.totals() == {"x": 13}


def test_hosts_of_scope_instance_end_as_well(host, die, redis):
    scope = {"GUNICORN_PROMETHEUS_SCOPE": "instance"}
    a, b, c = (host(name, **scope) for name in "abc")
    for each in (a, b, c):
        each.count("x", 1)
        each.publish()
    b.storage.retire("")
    assert names(redis) == ["a", "c"]
    die(a)
    assert names(redis) == ["a"]
    assert host("d").totals() == {"x": 3}
    assert a.totals() == {"x": 1}


def test_the_archive_does_not_grow_with_the_number_of_the_dead(host, redis):
    a = host("a")
    a.publish()
    sizes = []
    for number in range(30):
        one = host(f"pod-{number}")
        for path in range(50):
            one.count("x", path=f"/{path}", process=f"worker-{number % 2}")
        one.publish()
        one.storage.retire(one.instance)
        one.storage.close()
        sizes.append(redis.memory_usage("test:archive:metric:values"))
    assert sizes[-1] == sizes[1]
    assert sum(a.totals().values()) == 30 * 50


@pytest.mark.parametrize("lost", [0, 1, 2, 3, 4, 5, 6, 8, 10, 12])
def test_a_lost_reply_does_no_harm(host, wire, clock, lost):
    """The connection is cut after so many packets of answers, whatever has been done by then."""
    a, b = host("a", REDIS_PORT=str(wire.port)), host("b")
    c = host("c")
    b.count("x", 4)
    for each in (a, b, c):
        each.publish()
    wire.answers = lost
    with contextlib.suppress(StorageUnavailable):
        a.count("x", 3)
        a.publish()
        a.storage.retire(b.instance)
        a.publish()
        a.totals()
    wire.answers = None
    a.storage.retire(b.instance)
    a.publish()
    assert a.totals() == c.totals() == {"x": 7}
    b.count("x")
    b.publish()
    a.publish()
    assert a.totals() == b.totals() == c.totals() == {"x": 8}


def test_workers_of_dead_hosts_keep_their_numbers(host, die):
    """The documented families per worker don't lose what a dead host's worker has counted."""
    a, b = host("a"), host("b")
    labels = {"cause": "crash", "worker_id": "3"}
    for each in (a, b):
        each.count("gunicorn_worker_exits", process="master-0", **labels)
        each.count(
            "gunicorn_worker_error_handling",
            2,
            process="worker-3",
            method="GET",
            endpoint="/",
            error_type="E",
        )
        each.publish()

    def exposed():
        class Storage:
            def collect(self):
                return a.everything()

            def processes(self):
                return a.storage.processes()

        text = Exposition(Storage()).render(TEXT_0_0_4).decode()
        return {
            line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith("gunicorn_worker_") and "uptime" not in line
        }

    before = exposed()
    assert set(before.values()) == {2.0, 4.0}
    die(a)
    assert exposed() == before


def test_pairs_add_up_exactly():
    total = 0.0, 0.0
    for _ in range(10):
        total = plus(total, (0.1, 0.0))
    assert total[0] == 1.0
    assert total[1] != 0.0
    assert plus((float("inf"), 0.0), (1.0, 0.0)) == (float("inf"), 0.0)
    assert json.dumps(plus((2.0, 0.0), (3.0, 0.0))) == "[5.0, 0.0]"
