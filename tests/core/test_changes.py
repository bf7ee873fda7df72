"""What an exposition keeps from scrape to scrape never shows in what it says."""

import math
import random

import pytest

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0, TEXT_0_0_4, Format

UTF8 = Format(openmetrics=False, version="1.0.0", escaping="allow-utf-8")


@pytest.fixture
def kept(folder, same_as_stock, parsed):
    """An exposition that is kept; a check that it says what a new one and the oracle say."""

    class Kept:
        exposition = Exposition(folder)

        def check(self, any_help=False):
            same_as_stock(self.exposition, any_help=any_help)
            for form in (TEXT_0_0_4, UTF8):
                kept, fresh = (e.render(form) for e in (self.exposition, Exposition(folder)))
                assert parsed(kept, any_help) == parsed(fresh, any_help)

    return Kept()


def test_new_series_appear(folder, kept):
    for i in range(5):
        folder.write("a", "counter", "jobs", "jobs_total", {"q": str(i)}, i)
        folder.observe("a", "took", {"q": str(i)}, {1.0: i, math.inf: 1}, i)
        folder.write("a", "gauge_sum", "depth", "depth", {"q": str(i)}, i)
        kept.check()


def test_new_families_and_kinds_appear(folder, kept):
    kept.check()
    folder.write("a", "counter", "jobs", "jobs_total", {}, 1)
    kept.check()
    folder.write("a", "counter", "more", "more_total", {}, 1)
    folder.write("a", "summary", "took", "took_sum", {}, 1)
    kept.check()


def test_a_new_bound_appears_in_a_known_label_set(folder, kept):
    folder.observe("a", "took", {}, {1.0: 2, math.inf: 1}, 3)
    kept.check()
    folder.observe("b", "took", {}, {0.5: 7, math.inf: 0}, 3)
    kept.check()


def test_a_process_appears_that_records_in_another_order(folder, kept):
    for process, order in (("b", "xyz"), ("a", "zyx"), ("c", "yw")):
        for label in order:
            folder.write(process, "counter", "jobs", "jobs_total", {"q": label}, ord(process))
        kept.check()
        kept.check()


@pytest.mark.parametrize("gone", "abc")
def test_series_of_a_process_that_has_vanished_are_gone(folder, kept, gone):
    for process in "abc":
        folder.write(process, "counter", "jobs", "jobs_total", {"q": "all"}, 1)
        folder.write(process, "counter", "jobs", "jobs_total", {"q": process}, 1)
        folder.write(process, "gauge_max", "depth", "depth", {"q": process}, 1)
        folder.observe(process, "took", {"q": process}, {1.0: 1, math.inf: 1}, 1)
    kept.check()
    folder.vanish(gone)
    kept.check()


def test_a_kind_that_nobody_has_any_more_is_gone(folder, kept):
    folder.write("a", "counter", "jobs", "jobs_total", {}, 1)
    folder.write("b", "summary", "took", "took_sum", {}, 1)
    kept.check()
    folder.vanish("b")
    kept.check()
    folder.write("b", "summary", "took", "took_count", {}, 1)
    kept.check()


@pytest.mark.parametrize("others", ["", "b"])
def test_a_page_begun_anew_loses_the_series_that_nobody_else_has(folder, kept, others):
    for process in "a" + others:
        folder.write(process, "counter", "jobs", "jobs_total", {"q": "common"}, 1)
    folder.write("a", "counter", "jobs", "jobs_total", {"q": "only here"}, 1)
    kept.check()
    folder.vanish("a")
    folder.write("a", "counter", "jobs", "jobs_total", {"q": "new"}, 1)
    kept.check()


def test_a_page_begun_anew_may_be_shorter_or_in_another_order(folder, kept):
    for label in "xyz":
        folder.write("a", "counter", "jobs", "jobs_total", {"q": label}, ord(label))
    kept.check()
    for order in ("zyx", "y", "yzx", "x"):
        folder.vanish("a")
        for label in order:
            folder.write("a", "counter", "jobs", "jobs_total", {"q": label}, ord(label))
        kept.check()


KINDS = ["counter", "summary", "histogram", "gauge_all", "gauge_liveall", "gauge_min"]
KINDS += ["gauge_livemax", "gauge_sum", "gauge_mostrecent"]
VALUES = [0, 1, 2, 0.5, 1e9, -1, math.inf, math.nan]


def change(folder, rng):
    """One thing that can happen between two scrapes."""
    process = rng.choice("abcd")
    what = rng.random()
    if what < 0.05:
        folder.vanish(process)
    elif what < 0.1 and folder.files:
        folder.remove(rng.choice(sorted(folder.files)))
    elif what < 0.15:
        folder.dead ^= {process}
    else:
        write(folder, rng, process)


def write(folder, rng, process):
    kind, labels = rng.choice(KINDS), {"q": rng.choice("uvwxyz")}
    value, text = rng.choice(VALUES), rng.choice(["help", "help", "help", "other help"])
    family = f"f_{kind}_{rng.randrange(2)}"
    if kind == "histogram":
        bounds = rng.choice([[1.0, math.inf], [0.5, 1.0, math.inf]])
        counts = {bound: rng.randrange(5) for bound in bounds}
        folder.observe(process, family, labels, counts, value, help=text)
    elif kind == "summary":
        for suffix in ("count", "sum"):
            folder.write(process, kind, family, f"{family}_{suffix}", labels, value, help=text)
    else:
        sample = f"{family}_total" if kind == "counter" else family
        stamp = rng.choice([1.0, 2.0, 3.0])
        folder.write(process, kind, family, sample, labels, value, stamp=stamp, help=text)


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_changes(folder, kept, seed):
    rng = random.Random(seed)
    for _ in range(40):
        for _ in range(rng.randrange(1, 8)):
            change(folder, rng)
        kept.check(any_help=True)
    assert kept.exposition.render(OPENMETRICS_1_0_0).endswith(b"# EOF\n")
