"""Which series are gone, where processes that run other code have them as well."""

import itertools
from array import array

import pytest

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_core.text import TEXT_0_0_4

HAS, REMOVED, TAKEN_OVER = 0.0, -100.0, 50.0


class Storage:
    def __init__(self, *snapshots):
        self.snapshots = snapshots

    def collect(self):
        return self.snapshots

    def processes(self):
        return []


def page(process, kind, *cells):
    values = memoryview(array("d", (number for _, *pair in cells for number in pair)))
    keys, at = [stored for stored, *_ in cells], range(0, 2 * len(cells), 2)
    known = Process(process, "other", process, alive=True)
    return Snapshot(known, kind, keys, at, values, removed=any(stamp < 0 for *_, stamp in cells))


def counter(stamp, help_text="help"):
    return key("jobs", "jobs_total", {"q": "x"}, help_text), 1.0, stamp


def gauge(stamp, help_text="help"):
    return key("depth", "depth", {"q": "x"}, help_text), 1.0, stamp


def histogram(stamp, *bounds):
    yield key("took", "took_sum", {"q": "x"}, "help"), 1.0, stamp
    for bound in (*bounds, "+Inf"):
        yield key("took", "took_bucket", {"q": "x", "le": bound}, "help"), 1.0, stamp


@pytest.mark.parametrize("bounds", [("1.0", "2.0"), ("1.0", "3.0"), ("1.0",), ()])
def test_a_histogram_stays_as_long_as_somebody_has_it_with_other_buckets(samples, bounds):
    """As after a reload with other buckets, while a worker of before is still there."""
    before = page("a", "histogram", *histogram(REMOVED, "1.0", "2.0"))
    after = page("b", "histogram", *histogram(HAS, *bounds))
    for order in ((before, after), (after, before)):
        found = samples(Exposition(Storage(*order)).render(TEXT_0_0_4))
        assert found["took_count"] == [({"q": "x"}, 3.0 + 1 + len(bounds))]
        assert found["took_sum"] == [({"q": "x"}, 2.0)]
    gone = page("b", "histogram", *histogram(REMOVED, *bounds))
    assert Exposition(Storage(before, gone)).render(TEXT_0_0_4) == b""


@pytest.mark.parametrize(("kind", "cell"), [("counter", counter), ("gauge_max", gauge)])
def test_a_series_is_gone_also_where_its_help_text_has_changed(kind, cell):
    """A slot's page keeps the keys of its former owner, who ran older code."""
    if kind == "counter":
        cells = [cell(TAKEN_OVER, "old"), cell(REMOVED, "new")]
    else:
        cells = [cell(REMOVED, "old"), cell(REMOVED, "new")]
    for some in itertools.permutations(cells):
        assert Exposition(Storage(page("a", kind, *some))).render(TEXT_0_0_4) == b""
    still = page("b", kind, cell(HAS if kind == "counter" else 1.0, "newest"))
    for some in itertools.permutations([page("a", kind, *cells), still]):
        assert b'{q="x"}' in Exposition(Storage(*some)).render(TEXT_0_0_4)
