"""What hosts see of each other."""

from dataclasses import replace

import pytest

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import TEXT_0_0_4


def test_hosts_see_the_sum_of_all(host):
    hosts = [host(name) for name in "abc"]
    for number, each in enumerate(hosts, 1):
        each.count("x", number)
        each.count(f"only_{number}", process="worker-1")
        each.publish()
    expected = {"x": 6, "only_1": 1, "only_2": 1, "only_3": 1}
    assert [each.totals() for each in hosts] == [expected] * 3


def test_own_values_need_no_publish(host):
    a, b = host("a"), host("b")
    a.count("x", 3)
    a.publish()
    b.count("x", 4)
    assert (a.totals(), b.totals()) == ({"x": 3}, {"x": 7})


def test_what_changes_is_seen_at_the_next_publish(host):
    a, b = host("a"), host("b")
    for turn in range(1, 30):
        for number in range(turn):
            a.count("x", 1, process=f"worker-{number % 3}", path=f"/{number}")
        a.count("y", 0.1)
        a.publish()
        assert b.totals() == pytest.approx(a.totals())


def test_many_series_take_many_chunks(host):
    a, b = host("a"), host("b")
    for number in range(2000):
        a.count("x", number, path=f"/{number}")
    a.publish()
    a.count("x", 1, path="/1999")
    a.publish()
    assert b.totals() == a.totals()
    assert sum(b.totals().values()) == 1999 * 1000 + 1


def test_equal_names_and_pids_do_not_clash(host):
    a, b = host("same"), host("same")
    a.count("x", 3)
    b.count("x", 4)
    a.publish()
    b.publish()
    assert a.instance != b.instance
    assert a.totals() == b.totals() == {"x": 7}


def test_publishing_again_changes_nothing(host):
    a, b = host("a"), host("b")
    a.count("x", 3)
    for _ in range(3):
        a.publish()
    assert b.totals() == {"x": 3}


def test_a_new_exporter_on_the_same_pages_is_the_same_instance(host):
    a, b = host("a"), host("b")
    a.count("x", 3)
    a.publish()
    name = a.instance
    a.start()
    a.count("x")
    a.publish()
    assert a.instance == name
    assert b.totals() == {"x": 4}


def test_of_two_exporters_on_the_same_pages_one_publishes(host, until):
    a, b = host("a"), host("b")
    second = host("a")
    second.storage.close()
    second.directory, second.pages = a.directory, a.pages
    second.start()
    a.count("x", 3)
    a.publish()
    second.publish()
    assert second.instance == a.instance
    assert b.totals() == second.totals() == {"x": 3}
    a.storage.close()
    second.count("x")
    second.publish()
    assert b.totals() == {"x": 4}


def test_pages_that_are_begun_anew_are_followed(host):
    a, b = host("a"), host("b")
    a.set("level", 5, "livesum")
    a.count("x")
    a.publish()
    # A worker is replaced: its gauges are gone, and its counters are in another order.
    del a.pages["worker-0", "gauge_livesum"]
    former = a.pages.pop(("worker-0", "counter"))
    a.count("y")
    a.count("x", former.values[former.at[0]])
    a.publish()
    assert b.totals() == {"x": 1, "y": 1}
    assert not [one for one in b.storage.collect() if one.kind == "gauge_livesum"]
    a.set("depth", 1, "livesum")
    a.set("level", 2, "livesum")
    a.publish()
    (gauges,) = [one for one in b.storage.collect() if one.kind == "gauge_livesum"]
    assert [gauges.values[at] for at in gauges.at] == [1, 2]


def test_keys_may_be_anything(host):
    a, b = host("a"), host("b")
    page = a.page("worker-0", "counter")
    for stored in (
        b'["g", "g_total", {"l": "gr\xc3\xb6\xc3\x9fe \\u0000"}, ""]',
        b"[\xff\xfe",
        b"[",
    ):
        at = page.cell(stored)
        page.values[at] = 1
    a.publish()
    (seen,) = b.storage.collect()
    assert seen.keys == page.keys


def test_processes_are_known_without_their_pids(host):
    a, b = host("a"), host("b")
    a.count("x")
    a.publish()
    b.storage.collect()
    (process,) = b.storage.processes()
    assert (process.name, process.alive, process.pid) == ("worker-0", True, None)
    assert process.started == 1000.0


class Both:
    """A host's storage as the exporter process shows it."""

    def __init__(self, host):
        self.host = host

    def collect(self):
        own = [replace(one, instance=self.host.instance) for one in self.host.snapshots()]
        return [*own, *self.host.storage.collect()]

    def processes(self):
        own = {one.process.name: one.process for one in self.host.snapshots()}
        return [*own.values(), *self.host.storage.processes()]


def test_gauges_of_every_mode_are_merged_over_hosts(host):
    a, b = host("a"), host("b")
    for mode in ("all", "min", "max", "sum", "mostrecent"):
        for live in ("live", ""):
            a.set(f"{live}{mode}", 3, live + mode, stamp=10)
            b.set(f"{live}{mode}", 5, live + mode, stamp=9)
    a.publish()
    b.publish()
    lines = Exposition(Both(a)).render(TEXT_0_0_4).decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for live in ("live", ""):
        assert found.pop(f'{live}all{{pid="{a.instance}/worker-0"}}') == "3.0"
        assert found.pop(f'{live}all{{pid="{b.instance}/worker-0"}}') == "5.0"
    assert found.pop("gunicorn_workers") == "2.0"
    assert found.pop('gunicorn_worker_uptime_seconds{worker_id="0"}')
    assert {name: float(value) for name, value in found.items()} == {
        "min": 3, "max": 5, "sum": 8, "mostrecent": 3,
        "livemin": 3, "livemax": 5, "livesum": 8, "livemostrecent": 3,
    }  # fmt: skip


def test_scope_instance_shows_this_host_only(host):
    a, b = host("a", GUNICORN_PROMETHEUS_SCOPE="instance"), host("b")
    a.count("x", 3)
    b.count("x", 4)
    a.publish()
    b.publish()
    assert a.totals() == {"x": 3}
    assert a.instance == ""
    assert b.totals() == {"x": 7}


def test_prefixes_keep_applications_apart(host):
    a, b = host("a"), host("b", REDIS_KEY_PREFIX="other")
    a.count("x", 3)
    a.publish()
    b.publish()
    assert b.totals() == {}


def test_keys_have_the_documented_shapes_and_expire(host, redis_server):
    a, b = host("a", REDIS_KEY_PREFIX="gunicorn"), host("b", REDIS_KEY_PREFIX="gunicorn")
    a.count("x")
    b.count("x")
    a.publish()
    b.publish()
    b.storage.retire(b.instance)
    a.count("x")
    a.publish()
    keys = redis_server.cli("keys", "*").split()
    metrics, metas = (
        redis_server.cli("keys", f"gunicorn:*:{kind}:*").split() for kind in ("metric", "meta")
    )
    assert sorted(keys) == sorted(metrics + metas)
    assert metrics
    assert f"gunicorn:{a.instance}:metric:values" in metrics
    assert [key for key in keys if int(redis_server.cli("ttl", key)) < 0] == []


def test_nothing_expires_where_that_is_disabled(host, redis_server):
    a, b = host("a", REDIS_TTL_DISABLED="true"), host("b", REDIS_TTL_DISABLED="true")
    for each in (a, b):
        each.count("x")
        each.publish()
    keys = redis_server.cli("keys", "*").split()
    assert [redis_server.cli("ttl", key) for key in keys] == ["-1"] * len(keys)
