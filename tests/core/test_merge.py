"""Merging says the same as prometheus_client's MultiProcessCollector about the same files."""

import math

import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0

MODES = ["all", "min", "max", "sum", "mostrecent"]
MODES += [f"live{mode}" for mode in MODES]
NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def again(folder, same_as_stock):
    """Compares the first scrape and two later ones, which use what the first has learned."""
    yield
    exposition = Exposition(folder)
    for _ in range(3):
        same_as_stock(exposition)


# Counters and summaries


def test_counters_add_up_over_processes(folder):
    for process, value in (("a", 1), ("b", 2.5), ("c", 0)):
        folder.write(process, "counter", "jobs", "jobs_total", {}, value)
        folder.write(process, "counter", "labelled", "labelled_total", {"q": "x"}, value * 3)


def test_series_may_come_in_another_order_in_each_process(folder):
    for process, order in (("a", "wxyz"), ("b", "zyxw"), ("c", "ywzx")):
        for i, label in enumerate(order):
            folder.write(process, "counter", "jobs", "jobs_total", {"q": label}, 10**i)


def test_a_process_may_lack_series_that_others_have(folder):
    for process, order in (("a", "wx"), ("b", "zyxw"), ("c", "y"), ("d", "v")):
        for i, label in enumerate(order):
            folder.write(process, "counter", "jobs", "jobs_total", {"q": label}, 10**i)


def test_summaries_add_up_over_processes(folder):
    for process, order in (("a", "xy"), ("b", "yx"), ("c", "y")):
        for i, label in enumerate(order):
            folder.write(process, "summary", "took", "took_count", {"q": label}, 2 + i)
            folder.write(process, "summary", "took", "took_sum", {"q": label}, 1.5 * i)


def test_summaries_made_at_the_same_time_by_two_threads_stay_together_in_the_text(folder):
    for suffix in ("count", "sum"):
        for label in "xy":
            folder.write("a", "summary", "took", f"took_{suffix}", {"q": label}, 2)
    text = Exposition(folder).render(OPENMETRICS_1_0_0).decode()
    assert list(openmetrics_parser.text_string_to_metric_families(text))


@pytest.mark.parametrize("value", [NAN, INF, -INF, -3.0, 1e300, 5e-324])
def test_any_double_is_added(folder, value):
    folder.write("a", "counter", "jobs", "jobs_total", {}, value)
    folder.write("b", "counter", "jobs", "jobs_total", {}, 1)
    folder.write("a", "summary", "took", "took_sum", {}, value)
    folder.write("a", "summary", "took", "took_count", {}, 1)


# Histograms


def test_histogram_buckets_are_added_and_accumulated(folder):
    for process, n in (("a", 1), ("b", 5), ("c", 0)):
        folder.observe(process, "took", {}, {0.1: n, 1.0: 2 * n, INF: 3 * n}, 1.5 * n)


def test_histograms_may_have_other_label_sets_in_each_process(folder):
    for process, labels in (("a", "wx"), ("b", "xw"), ("c", "yz"), ("d", "zyxw")):
        for i, label in enumerate(labels):
            folder.observe(process, "took", {"q": label}, {0.1: i, 1.0: 2, INF: 1}, i)


def test_histograms_may_have_other_bounds_in_each_process(folder):
    folder.observe("a", "took", {"q": "x"}, {0.1: 1, 1.0: 2, INF: 3}, 5)
    folder.observe("b", "took", {"q": "x"}, {0.5: 1, 1.0: 2, 2.5: 1, INF: 3}, 6)
    folder.observe("b", "took", {"q": "y"}, {0.25: 1, INF: 3}, 7)
    folder.observe("c", "took", {"q": "y"}, {INF: 1}, 8)


def test_bounds_may_come_in_any_order(folder):
    folder.observe("a", "took", {}, {INF: 3, 1.0: 2, 0.1: 1}, 5)
    folder.observe("b", "took", {}, {0.1: 1, 1.0: 2, INF: 3}, 5)


def test_negative_and_large_bounds_are_ordered_by_value(folder):
    folder.observe("a", "took", {}, {-5.0: 1, 0.0: 2, 1e7: 3, 123456789.0: 4, INF: 5}, -20)


def test_a_histogram_may_lack_its_sum(folder):
    for bound, count in (("1.0", 2), ("+Inf", 1)):
        folder.write("a", "histogram", "took", "took_bucket", {"le": bound}, count)
    folder.observe("a", "other", {}, {1.0: 1, INF: 0}, 3)
    # prometheus_client leaves the sum out then; a histogram without one is not valid OpenMetrics.
    folder.write("a", "histogram", "took", "took_sum", {}, 0)


def test_nan_and_infinity_in_histogram_sums(folder):
    folder.observe("a", "took", {}, {1.0: 1, INF: 1}, NAN)
    folder.observe("a", "far", {}, {1.0: 1, INF: 1}, INF)
    folder.observe("b", "far", {}, {1.0: 1, INF: 1}, 1)


# Gauges

GAUGES = {
    "whole numbers": [(3, 10), (1, 30), (2, 20)],
    "negative": [(-3, 10), (-1, 30), (-2, 20)],
    "nan first": [(NAN, 10), (1, 20), (2, 30)],
    "nan last": [(2, 10), (1, 20), (NAN, 30)],
    "only nan": [(NAN, 10), (NAN, 20)],
    "infinite": [(INF, 10), (-INF, 20), (0, 30)],
    "never set": [(0, 0), (0, 0)],
    "same time": [(1, 10), (2, 10), (3, 10)],
    "before 1970": [(1, -10), (2, -5)],
    "one": [(7, 10)],
}


@pytest.mark.parametrize("given", GAUGES.values(), ids=GAUGES)
@pytest.mark.parametrize("mode", MODES)
def test_gauges_merge_by_their_mode(folder, mode, given):
    for process, (value, stamp) in zip("abc", given, strict=False):
        folder.write(process, f"gauge_{mode}", "depth", "depth", {}, value, stamp=stamp)
        folder.write(process, f"gauge_{mode}", "hot", "hot", {"q": "x"}, value, stamp=stamp)


@pytest.mark.parametrize("mode", MODES)
def test_gauges_may_differ_in_order_and_label_sets(folder, mode):
    for process, order in (("a", "wx"), ("b", "zyxw"), ("c", "y")):
        for i, label in enumerate(order):
            value, stamp = 10 - i, 5 + i * ord(process)
            folder.write(
                process, f"gauge_{mode}", "depth", "depth", {"q": label}, value, stamp=stamp
            )


@pytest.mark.parametrize("mode", MODES)
def test_the_gauges_of_the_dead_count_unless_the_mode_is_live(folder, samples, mode):
    for process, value in (("a", 1), ("b", 20), ("c", -5)):
        folder.write(process, f"gauge_{mode}", "depth", "depth", {}, value, stamp=100 + value)
    folder.dead = {"b", "c"}
    (labels, value), *_ = samples(Exposition(folder).render(OPENMETRICS_1_0_0))["depth"]
    if mode == "liveall":
        assert labels == {"pid": "a"}
    if mode.startswith("live"):
        assert value == 1


def test_a_live_gauge_ends_with_its_only_process(folder, samples):
    folder.write("a", "gauge_livesum", "depth", "depth", {"q": "x"}, 1)
    folder.write("b", "gauge_livesum", "depth", "depth", {"q": "y"}, 2)
    exposition = Exposition(folder)
    assert len(samples(exposition.render(OPENMETRICS_1_0_0))["depth"]) == 2
    folder.dead = {"b"}
    assert samples(exposition.render(OPENMETRICS_1_0_0))["depth"] == [({"q": "x"}, 1)]


# All together


def test_families_of_all_kinds_in_one_folder(folder):
    for process in "abc":
        folder.write(process, "counter", "jobs", "jobs_total", {"q": "x"}, 1)
        folder.write(process, "summary", "took", "took_count", {}, 1)
        folder.write(process, "summary", "took", "took_sum", {}, 1)
        folder.observe(process, "spread", {"q": "x"}, {1.0: 1, INF: 2}, 3)
        for mode in MODES:
            folder.write(process, f"gauge_{mode}", f"g_{mode}", f"g_{mode}", {}, 1, stamp=1)


def test_nothing_recorded_is_an_empty_text(folder):
    assert Exposition(folder).render(OPENMETRICS_1_0_0) == b"# EOF\n"


def test_more_series_than_are_decoded_at_once(folder):
    for process, first in (("a", 0), ("b", 1500)):
        for i in range(first, first + 2100):
            folder.write(process, "counter", "jobs", "jobs_total", {"q": str(i)}, i)


def test_a_help_text_that_differs_between_processes_does_not_split_a_family(folder):
    """A reload with new code leaves the former code's keys in the pages."""
    for process, text in (("a", "old"), ("b", "new"), ("c", "newer")):
        folder.write(process, "counter", "jobs", "jobs_total", {"q": "x"}, 1, help=text)
        folder.write(process, "counter", "jobs", "jobs_total", {"q": process}, 1, help=text)
        folder.write(process, "summary", "took", "took_count", {}, 1, help=text)
        folder.write(process, "summary", "took", "took_sum", {}, 1, help=text)
        folder.observe(process, "spread", {}, {1.0: 1, INF: 2}, 3, help=text)
        for mode in MODES:
            folder.write(
                process, f"gauge_{mode}", f"g_{mode}", f"g_{mode}", {}, ord(process),
                stamp=ord(process), help=text,
            )  # fmt: skip


def test_a_help_text_that_differs_within_a_process_does_not_split_a_family(folder):
    for text in ("old", "new", "newer"):
        for process in ("a", "b"):
            folder.write(process, "counter", "jobs", "jobs_total", {"q": "x"}, 1, help=text)
            folder.observe(process, "spread", {}, {1.0: 1, INF: 2}, 3, help=text)
    folder.write("b", "counter", "jobs", "jobs_total", {"q": "y"}, 1, help="new")
    folder.write("a", "counter", "jobs", "jobs_total", {"q": "y"}, 1, help="newer")
    folder.write("a", "counter", "jobs", "jobs_total", {"q": "y"}, 1, help="old")
