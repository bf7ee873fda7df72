"""Exemplars, and what Info and Enum say, through Redis."""

import pytest

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import EXEMPLAR, INFO, Process, Remark, Snapshot, latest
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0
from gunicorn_prometheus_storage_redis import remarks

KEY = key("x", "x_total", {}, "help")


def says(host, kind, stored, remark, process="worker-0"):
    """A host's process says something, beside what its pages hold."""
    host.said = getattr(host, "said", {})
    host.said.setdefault((process, kind), {})[stored] = remark
    nothing = memoryview(b"").cast("d")
    pages = type(host).snapshots
    host.snapshots = lambda: [
        *pages(host),
        *(
            Snapshot(
                Process(name, "worker", "0", alive=True), of, (), (), nothing, remarks=all_.copy
            )
            for (name, of), all_ in host.said.items()
        ),
    ]


def seen(host, kind=EXEMPLAR):
    return latest(one.remarks() for one in host.storage.collect() if one.kind == kind)


def said(text, when, value=1.0):
    return Remark({"trace_id": text}, value, when)


def test_hosts_see_the_latest_of_all_processes_of_others(host):
    a, b, c = (host(name) for name in "abc")
    says(a, EXEMPLAR, KEY, said("old", 1.0))
    says(a, EXEMPLAR, KEY, said("newer", 3.0), process="worker-1")
    says(b, EXEMPLAR, KEY, said("between", 2.0))
    says(b, INFO, b'["i"]', Remark({"ü": '"\n'}, 1.0, 1.5))
    for each in (a, b, c):
        each.count("x")
        each.publish()
    assert seen(c) == {KEY: said("newer", 3.0)}
    assert seen(a) == {KEY: said("between", 2.0)}
    assert seen(c, INFO) == {b'["i"]': Remark({"ü": '"\n'}, 1.0, 1.5)}
    assert c.totals() == {"x": 3}
    assert {one.name for one in c.storage.processes()} == {"worker-0"}


def test_a_scrape_shows_the_exemplars_of_other_hosts(host):
    a, b = host("a"), host("b")
    a.count("x")
    says(a, EXEMPLAR, KEY, said("abc", 1700000000.5))
    a.publish()
    b.publish()
    text = Exposition(b.storage).render(OPENMETRICS_1_0_0).decode()
    assert 'x_total 1.0 # {trace_id="abc"} 1.0 1700000000.500\n' in text


def test_only_what_is_new_is_sent_and_nothing_when_nothing_is(host, wire):
    a, b = host("a", REDIS_PORT=str(wire.port)), host("b")
    a.count("x")
    for number in range(500):
        says(a, EXEMPLAR, b'["%d"]' % number, said("t", 1.0))
    a.publish()
    a.publish()
    wire.clear()
    a.publish()
    idle = len(wire.sent)
    assert idle < 400
    assert b"HSET" not in [words[0] for words in wire.commands()]
    says(a, EXEMPLAR, b'["7"]', said("new", 2.0))
    wire.clear()
    a.publish()
    assert len(wire.sent) < idle + 200
    del a.said["worker-0", EXEMPLAR][b'["9"]']
    a.publish()
    assert seen(b).keys() == {b'["%d"]' % number for number in range(500) if number != 9}
    assert seen(b)[b'["7"]'] == said("new", 2.0)


@pytest.mark.parametrize("lost", ["everything", "the remarks"])
def test_what_the_server_loses_is_published_again(host, redis, lost):
    a, b = host("a"), host("b")
    a.count("x")
    says(a, EXEMPLAR, KEY, said("abc", 1.0))
    a.publish()
    if lost == "everything":
        redis.flushall()
    else:
        assert redis.delete(f"test:{a.instance}:metric:remarks")
    for _ in range(4):  # one of its keys is looked at each time
        a.publish()
    assert seen(b) == {KEY: said("abc", 1.0)}


def test_remarks_end_with_their_instance(host, redis):
    a, b = host("a"), host("b")
    for each in (a, b):
        each.count("x")
        each.publish()
    says(a, EXEMPLAR, KEY, said("abc", 1.0))
    a.publish()
    b.storage.collect()
    b.storage.retire(a.instance)
    assert seen(b) == {}
    assert b.totals() == {"x": 2}
    assert not redis.exists(f"test:{a.instance}:metric:remarks")


def test_damaged_remarks_cost_only_themselves(host, redis):
    a, b = host("a"), host("b")
    a.count("x")
    for number in range(5):
        says(a, EXEMPLAR, b'["%d"]' % number, said("t", 1.0))
    a.publish()
    stored = f"test:{a.instance}:metric:remarks"
    fields = sorted(redis.hkeys(stored))
    for field, value in zip(fields, [b"", b"{}", b"[1,2,3]", b"\xff"], strict=False):
        redis.hset(stored, field, value)
    redis.hset(stored, "unknown kind", remarks.packed(said("t", 1.0)))
    assert seen(b) == {b'["4"]': said("t", 1.0)}
    assert b.totals() == {"x": 1}


def test_who_has_published_without_remarks_is_read_as_ever(host, redis):
    a, b = host("a"), host("b")
    a.count("x")
    a.publish()
    assert not redis.exists(f"test:{a.instance}:metric:remarks")
    assert (b.totals(), seen(b)) == ({"x": 1}, {})


def test_native_buckets_are_added_up_and_kept(host):
    a, b = host("a"), host("b")
    stored = key("took", "17", {"q": "x"}, "help")
    for each, count in ((a, 3), (b, 4)):
        page = each.page("worker-0", "native")
        at = page.cell(stored)
        page.values[at] += count
        each.publish()

    def total():
        return sum(
            one.values[at]
            for one in b.everything()
            if one.kind == "native"
            for known, at in zip(one.keys, one.at, strict=True)
            if known == stored
        )

    assert total() == 7
    b.storage.retire(a.instance)
    assert total() == 7
