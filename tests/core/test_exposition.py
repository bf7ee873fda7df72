import itertools
import logging
import math
from typing import ClassVar

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import EXEMPLAR, INFO, STATESET, Remark, Snapshot
from gunicorn_prometheus_core.text import OPENMETRICS_1_0_0, PROTOBUF, TEXT_0_0_4, Format

UTF8 = Format(openmetrics=False, version="1.0.0", escaping="allow-utf-8")


class Measures:
    """A collector that gives these gauges."""

    def __init__(self, **gauges):
        self.gauges = gauges

    def collect(self, processes):
        for name, value in self.gauges.items():
            metric = Metric(name, "measured", "gauge")
            metric.add_sample(name, {"processes": str(len(processes))}, value)
            yield metric


class Fails:
    def __init__(self):
        self.failing = True

    def collect(self, processes):
        yield from Measures(before_failure=1).collect(processes)
        if self.failing:
            raise RuntimeError("no luck")


@pytest.fixture
def mixed(folder):
    """Something of each type, recorded by two processes."""
    for process in "ab":
        for label in ("x", 'sa"y\n'):
            labels = {"q": label}
            folder.write(process, "counter", "jobs", "jobs_total", labels, 2)
            folder.write(process, "summary", "took", "took_count", labels, 2)
            folder.write(process, "summary", "took", "took_sum", labels, 0.25)
            folder.observe(process, "size", labels, {1.0: 1, 1e6: 1, math.inf: 1}, 1e7)
            folder.write(process, "gauge_all", "depth", "depth", labels, math.nan)
            folder.write(process, "gauge_max", "top", "top", labels, math.inf)
    return folder


# name[]


def rendered_names(folder, parsed, names, form=TEXT_0_0_4):
    families = parsed(Exposition(folder).render(form, names))
    return {name for *_, samples in families.values() for name, _ in samples}


@pytest.mark.parametrize(
    "names",
    [
        ["jobs_total"],
        ["took_sum"],
        ["size_bucket"],
        ["size_count", "size_sum", "top"],
        ["depth", "missing"],
    ],
)
def test_names_leave_the_samples_that_have_one_of_them(mixed, parsed, names):
    assert rendered_names(mixed, parsed, names) == set(names) - {"missing"}


@pytest.mark.parametrize("name", ["missing", "jobs", "job", "size_buck", "", "{", "#"])
def test_a_name_that_no_sample_has_leaves_nothing(mixed, name):
    assert Exposition(mixed).render(TEXT_0_0_4, [name]) == b""
    assert Exposition(mixed).render(OPENMETRICS_1_0_0, [name]) == b"# EOF\n"


def test_the_values_of_named_samples_are_those_of_a_whole_scrape(mixed, parsed):
    whole = parsed(Exposition(mixed).render(TEXT_0_0_4))["size"]
    kind, text, samples = parsed(Exposition(mixed).render(TEXT_0_0_4, ["size_bucket"]))["size"]
    buckets = {s: value for s, value in whole[2].items() if s[0] == "size_bucket"}
    assert (kind, text, samples) == (*whole[:2], buckets)


def test_names_apply_to_collected_families(mixed, samples):
    exposition = Exposition(mixed, {"mine": Measures(first=1, second=2)})
    assert samples(exposition.render(TEXT_0_0_4, ["second"])) == {
        "second": [({"processes": "2"}, 2)]
    }


@pytest.mark.parametrize("scheme", ["underscores", "dots", "values", "allow-utf-8"])
def test_a_name_is_the_real_one_in_every_escaping_scheme(folder, scheme):
    folder.write("a", "gauge_max", "größe.x y", "größe.x y", {}, 1)
    folder.write("a", "gauge_max", "größe.x y", "größe.x y", {"a.b": "c"}, 2)
    folder.write("a", "gauge_max", "other", "other", {}, 3)
    form = Format(openmetrics=False, version="1.0.0", escaping=scheme)
    whole = Exposition(folder).render(form)
    wanted = Exposition(folder).render(form, ["größe.x y"])
    assert wanted == whole[: whole.index(b"# HELP other")]


# OpenMetrics


def test_openmetrics_is_accepted_by_its_parser_and_says_the_same(mixed, parsed):
    exposition = Exposition(mixed, {"mine": Measures(measured=1)})
    text = exposition.render(OPENMETRICS_1_0_0).decode()
    read = {}
    for family in openmetrics_parser.text_string_to_metric_families(text):
        for sample in family.samples:
            read[sample.name, frozenset(sample.labels.items())] = repr(float(sample.value))
    plain = parsed(exposition.render(TEXT_0_0_4))
    expected = {
        identity: repr(float(value))
        for *_, samples in plain.values()
        for identity, value in samples.items()
    }
    assert read == expected


def test_the_types_in_openmetrics(mixed):
    families = openmetrics_parser.text_string_to_metric_families(
        Exposition(mixed).render(OPENMETRICS_1_0_0).decode()
    )
    assert {family.name: family.type for family in families} == {
        "jobs": "counter",
        "took": "summary",
        "size": "histogram",
        "depth": "gauge",
        "top": "gauge",
    }


@pytest.mark.parametrize("kind", ["info", "stateset", "unknown", "gauge", "gaugehistogram"])
def test_a_collected_family_of_a_type_that_is_not_stored(folder, kind):
    sample = "thing_info" if kind == "info" else "thing"
    labels = {"stateset": {"thing": "x"}, "gaugehistogram": {"le": "+Inf"}}.get(kind, {})

    class Collector:
        def collect(self, processes):
            metric = Metric("thing", "help", kind)
            if kind == "gaugehistogram":
                metric.add_sample("thing_bucket", labels, 1)
                metric.add_sample("thing_gcount", {}, 1)
                metric.add_sample("thing_gsum", {}, 1)
            else:
                metric.add_sample(sample, labels, 1)
            return [metric]

    exposition = Exposition(folder, {"thing": Collector()})
    text = exposition.render(OPENMETRICS_1_0_0).decode()
    (family,) = openmetrics_parser.text_string_to_metric_families(text)
    assert family.type == kind
    plain = {"unknown": "untyped", "gaugehistogram": "histogram"}.get(kind, "gauge")
    assert f"# TYPE {sample} {plain}\n".encode() in exposition.render(TEXT_0_0_4)


# What is broken costs only itself


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("counter", '["jobs"'),
        ("counter", '["jobs", "jobs_total", {"q": 1}, "help"]'),
        ("counter", r'["jobs", "jobs_total", {"q": "\ud800"}, "help"]'),
        ("summary", '["took", "took_sum", {}]'),
        ("gauge_max", '["top"]'),
        ("gauge_all", r'["top", "top", {"q": "\udcff"}, "help"]'),
        ("gauge_max", r'["new", "new", {}, "\udcff"]'),
        ("histogram", "[" * 5000),
        ("histogram", '["size", "size_bucket", {"le": "wide"}, "help"]'),
    ],
)
@pytest.mark.parametrize("form", [TEXT_0_0_4, OPENMETRICS_1_0_0, UTF8])
def test_a_corrupt_key_is_left_out_and_counted_once(mixed, parsed, kind, key, form):
    exposition = Exposition(mixed)
    whole = exposition.render(form)
    assert exposition.rejected == 0
    mixed.write_key("a", kind, key, 1)
    assert [exposition.render(form) for _ in range(3)] == [whole] * 3
    assert exposition.rejected == 1
    assert Exposition(mixed).render(form) == whole


class WithMore:
    """A folder with further snapshots."""

    def __init__(self, folder, *more):
        self.folder, self.more = folder, more

    def collect(self):
        return [*self.folder.collect(), *self.more]

    def processes(self):
        return self.folder.processes()


def said(folder, kind, remarks):
    nothing = memoryview(b"").cast("d")
    return Snapshot(folder.process("a"), kind, (), (), nothing, remarks=lambda: remarks)


@pytest.mark.parametrize("form", [TEXT_0_0_4, OPENMETRICS_1_0_0, UTF8, PROTOBUF])
def test_what_has_no_utf8_is_written_with_a_question_mark(mixed, form):
    """As the names of files that Python reads from a file system of another encoding."""
    name = b"/caf\xe9".decode("utf-8", "surrogateescape")

    class Collector:
        def collect(self, processes):
            metric = Metric("file", name, "gauge")
            metric.add_sample("file", {"path": name}, 1)
            return [metric]

    info = {key("build", "build_info", {}, "help"): Remark({"path": name}, 1.0, 1.0)}
    enum = {key("phase", "phase", {}, "help"): Remark({name: "1", "off": "0"}, 1.0, 1.0)}
    trace = {key("jobs", "jobs_total", {"q": "x"}, "help"): Remark({"path": name}, 1.0, 1.0)}
    remarks = [said(mixed, *of) for of in ((INFO, info), (STATESET, enum), (EXEMPLAR, trace))]
    written = Exposition(WithMore(mixed, *remarks), {"mine": Collector()}).render(form)
    exemplars = int(form.openmetrics or form.protobuf)
    assert written.count(b"/caf?") == 4 + exemplars
    assert b"jobs_total" in written


def test_a_collected_value_may_be_what_float_understands(folder, samples):
    exposition = Exposition(folder, {"mine": Measures(measured="3")})
    assert samples(exposition.render(TEXT_0_0_4))["measured"] == [({"processes": "0"}, 3)]


def test_a_kind_that_is_not_known_here_is_left_out(mixed):
    """Of a later version, on another host."""
    whole = Exposition(mixed).render(TEXT_0_0_4)
    later = [Snapshot(**{**vars(one), "kind": "later"}) for one in mixed.collect()]
    assert Exposition(WithMore(mixed, *later)).render(TEXT_0_0_4) == whole


def test_a_failing_collector_costs_only_its_families_and_is_counted_and_logged_once(
    mixed, samples, caplog
):
    fails = Fails()
    exposition = Exposition(mixed, {"bad": fails, "good": Measures(measured=1)})
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            found = samples(exposition.render(TEXT_0_0_4))
            assert "measured" in found
            assert "jobs_total" in found
            assert "before_failure" not in found
    assert exposition.collector_errors == {"bad": 3}
    (record,) = caplog.records
    assert "collector bad failed" in record.getMessage()
    assert "no luck" in str(record.exc_info[1])
    fails.failing = False
    assert "before_failure" in samples(exposition.render(TEXT_0_0_4))
    assert exposition.collector_errors == {"bad": 3}


def test_a_family_that_two_sources_have_is_given_once(folder, samples):
    folder.write("a", "gauge_max", "measured", "measured", {}, 7)
    exposition = Exposition(folder, {"one": Measures(measured=1), "two": Measures(measured=2)})
    assert samples(exposition.render(TEXT_0_0_4))["measured"] == [({"processes": "1"}, 1)]


def test_a_family_of_two_kinds_is_given_once(folder, parsed):
    folder.write("a", "gauge_max", "depth", "depth", {}, 7)
    folder.write("b", "gauge_min", "depth", "depth", {}, 8)
    assert set(parsed(Exposition(folder).render(TEXT_0_0_4))) == {"depth"}


def test_an_unavailable_storage_is_the_callers_business():
    class Unavailable:
        def collect(self):
            raise StorageUnavailable("gone")

    with pytest.raises(StorageUnavailable, match="gone"):
        Exposition(Unavailable()).render(TEXT_0_0_4)


class Watched(Snapshot):
    """Tells ``READ`` of which kind values are looked at."""

    READ: ClassVar[list[str]] = []

    def __getattribute__(self, name):
        if name == "values":
            Watched.READ.append(object.__getattribute__(self, "kind"))
        return super().__getattribute__(name)


class Watching:
    """A storage whose snapshots come in any order."""

    def __init__(self, folder):
        self.folder = folder

    def collect(self):
        found = [Watched(**vars(snapshot)) for snapshot in self.folder.collect()]
        return sorted(found, key=lambda snapshot: snapshot.kind)

    def processes(self):
        return self.folder.processes()


def test_a_request_that_is_seen_counted_is_seen_ended_and_its_failures_counted(mixed):
    """Histograms are what a worker writes last and what is read first, whoever reads."""
    rendering = Exposition(Watching(mixed))
    for _ in range(3):
        Watched.READ.clear()
        rendering.render(TEXT_0_0_4)
        changes = [kind for kind, _ in itertools.groupby(Watched.READ)]
        kinds = [kind for kind in changes if kind.startswith(("histogram", "gauge", "counter"))]
        once = ["histogram", "gauge_max", "gauge_all", "counter"]
        assert kinds == once * (len(kinds) // len(once))
        assert kinds
