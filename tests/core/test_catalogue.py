import re

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import sample_keys
from gunicorn_prometheus_core.text import TEXT_0_0_4

#: Rules of https://prometheus.io/docs/practices/naming/ that documented names break.
EXCEPTIONS = {
    "gunicorn_worker_failed_requests": {"counter_ends_in_total": "documented without _total"},
    "gunicorn_worker_error_handling": {"counter_ends_in_total": "documented without _total"},
    "gunicorn_worker_cpu_percent": {"base_unit": "documented as a percentage, not a ratio"},
    "gunicorn_sidecar_multiproc_files_count": {
        "no_suffix_of_a_sample": "documented so",
        "no_type_in_name": "documented with _count",
    },
    "gunicorn_worker_restart_count_total": {"no_type_in_name": "documented with _count"},
    "gunicorn_master_worker_restart_count_total": {"no_type_in_name": "documented with _count"},
}

RULES = {
    "is_a_legacy_name": lambda f: re.fullmatch(r"[a-z][a-z0-9_]*", f.name),
    "has_our_prefix": lambda f: f.name.startswith("gunicorn_"),
    "counter_ends_in_total": lambda f: f.type != "counter" or f.name.endswith("_total"),
    "only_counters_end_in_total": lambda f: f.type == "counter" or not f.name.endswith("_total"),
    "no_suffix_of_a_sample": lambda f: not f.name.endswith(("_count", "_sum", "_bucket", "_info")),
    "no_type_in_name": lambda f: not re.search(r"_(count|counter|gauge|histogram)(_|$)", f.name),
    "base_unit": lambda f: (
        not re.search(
            r"_(milliseconds|ms|minutes|hours|kilobytes|kb|mb|percent|percentage)(_|$)", f.name
        )
    ),
    "labels_are_not_reserved": lambda f: not {"le", "quantile", "pid", "__name__"} & {*f.labels},
    "labels_are_legacy_names": lambda f: all(
        re.fullmatch("[a-z][a-z_]*", label) for label in f.labels
    ),
    "labels_are_not_in_the_name": lambda f: not any(f"_by_{label}" in f.name for label in f.labels),
    "help_is_a_sentence": lambda f: re.fullmatch(r"[A-Z].*[^.]\.", f.help),
    "buckets_belong_to_histograms": lambda f: bool(f.buckets) == (f.type == "histogram"),
    "buckets_rise": lambda f: list(f.buckets) == sorted(set(f.buckets)),
    "durations_and_sizes_name_their_unit": lambda f: (
        f.type != "histogram" or f.name.endswith(("_seconds", "_bytes"))
    ),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("family", c.FAMILIES, ids=lambda family: family.name)
def test_a_family_follows_the_naming_rules_or_is_a_documented_exception(family, rule):
    excepted = rule in EXCEPTIONS.get(family.name, {})
    assert bool(RULES[rule](family)) is not excepted


def test_the_gauges_that_are_merged_have_a_mode():
    gauges = {f.name for f in c.FAMILIES if f.source == "merged" and f.type == "gauge"}
    assert {f.name for f in c.FAMILIES if f.mode} == gauges


def test_names_are_unique_also_in_storage():
    for names in ([f.name for f in c.FAMILIES], [f.storage_name for f in c.FAMILIES]):
        assert len(set(names)) == len(names)


def test_no_sample_has_the_name_of_another_familys():
    suffixes = {"histogram": ("_bucket", "_count", "_sum")}
    samples = [f.name + end for f in c.FAMILIES for end in suffixes.get(f.type, ("",))]
    assert len(set(samples)) == len(samples)


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        (c.WORKER_DURATION, c.HTTP_DURATION),
        (c.WORKER_REQUEST_SIZE, c.HTTP_REQUEST_SIZE),
        (c.WORKER_RESPONSE_SIZE, c.HTTP_RESPONSE_SIZE),
    ],
    ids=lambda family: family.name,
)
def test_documented_buckets_are_contained_in_the_recorded_ones(coarse, fine):
    assert set(coarse.buckets) <= set(fine.buckets)


def test_the_documented_buckets():
    assert c.WORKER_DURATION.buckets == (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
    kib = [1, 4, 16, 64, 256, 1024, 4096]
    assert c.WORKER_REQUEST_SIZE.buckets == tuple(1024.0 * n for n in kib)
    assert c.WORKER_RESPONSE_SIZE.buckets == tuple(1024.0 * n for n in kib)


def test_every_cause_of_an_exit_has_a_restart_type():
    assert set(c.RESTART_TYPES.values()) == {"signal", "recycle", "error"}


@pytest.mark.parametrize(
    "family",
    [family for family in c.FAMILIES if family.source == "merged"],
    ids=lambda family: family.name,
)
def test_a_recorded_family_is_exposed_with_its_name_type_and_labels(folder, samples, family):
    labels = dict.fromkeys(family.labels, "x")
    for key in sample_keys(family, labels):
        folder.write_key("a", family.kind, key.decode(), 1)
    text = Exposition(folder).render(TEXT_0_0_4)
    assert f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n" in (
        text.decode()
    )
    found = samples(text)
    if family.type == "histogram":
        buckets = found[f"{family.name}_bucket"]
        assert [float(given.pop("le")) for given, _ in buckets] == [*family.buckets, float("inf")]
        assert all(given == labels for given, _ in buckets)
        assert found[f"{family.name}_count"] == [(labels, len(family.buckets) + 1)]
        assert found[f"{family.name}_sum"] == [(labels, 1)]
    else:
        assert found[family.name] == [(labels, 1)]
