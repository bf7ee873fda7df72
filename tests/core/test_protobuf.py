"""The protobuf format, read by Google's own library."""

from __future__ import annotations

import math
import random

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from prometheus_client import Metric

from gunicorn_prometheus_core import native
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.native import bucket_key
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import EXEMPLAR, INFO, NATIVE, STATESET, Remark, Snapshot
from gunicorn_prometheus_core.text import PROTOBUF, TEXT_0_0_4, Format

#: https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
MESSAGES = {
    "LabelPair": "string name 1, string value 2",
    "Gauge": "double value 1",
    "Counter": "double value 1, Exemplar exemplar 2",
    "Quantile": "double quantile 1, double value 2",
    "Summary": "uint64 sample_count 1, double sample_sum 2, Quantile* quantile 3",
    "Untyped": "double value 1",
    "Histogram": "uint64 sample_count 1, double sample_sum 2, Bucket* bucket 3, sint32 schema 5, "
    "double zero_threshold 6, uint64 zero_count 7, BucketSpan* positive_span 12, "
    "sint64* positive_delta 13",
    "Bucket": "uint64 cumulative_count 1, double upper_bound 2, Exemplar exemplar 3",
    "BucketSpan": "sint32 offset 1, uint32 length 2",
    "Exemplar": "LabelPair* label 1, double value 2, Timestamp timestamp 3",
    "Metric": "LabelPair* label 1, Gauge gauge 2, Counter counter 3, Summary summary 4, "
    "Untyped untyped 5, Histogram histogram 7",
    "MetricFamily": "string name 1, string help 2, int32 type 3, Metric* metric 4",
}
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM = range(5)


def family_class():
    """The class of io.prometheus.client.MetricFamily."""
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="p", syntax="proto2")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            kind, field, number = text.split()
            repeated, kind = kind.endswith("*"), kind.rstrip("*")
            made = message.field.add(name=field, number=int(number), label=3 if repeated else 1)
            if kind == "Timestamp":
                made.type, made.type_name = 11, ".google.protobuf.Timestamp"
            elif kind in MESSAGES:
                made.type, made.type_name = 11, f".p.{kind}"
            else:
                made.type = getattr(made, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.MetricFamily"))


FAMILY = family_class()


def decoded(encoded):
    """The families in it, by name."""
    found, at = {}, 0
    while at < len(encoded):
        size = shift = 0
        while True:
            byte, at = encoded[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        family = FAMILY.FromString(encoded[at : at + size])
        at += size
        assert family.name not in found
        found[family.name] = family
    assert at == len(encoded)
    return found


def labels_of(message):
    return {pair.name: pair.value for pair in message.label}


class Collected:
    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self, processes):
        return self.metrics


class WithRemarks:
    """A folder with further snapshots."""

    def __init__(self, folder, *more):
        self.folder, self.more = folder, more

    def collect(self):
        return [*self.folder.collect(), *self.more]

    def processes(self):
        return self.folder.processes()


def remarks(folder, kind, said):
    nothing = memoryview(b"").cast("d")
    return Snapshot(folder.process("a"), kind, (), (), nothing, remarks=lambda: said)


def test_families_of_every_type(folder):
    strange = 'a\\b"c\nd,e="f"} ü'
    folder.write("a", "counter", "jobs", "jobs_total", {"q": strange, "r": ""}, 2.5)
    folder.write("a", "counter", "bare", "bare", {}, 3)
    folder.write("a", "gauge_all", "depth", "depth", {}, -1.5)
    folder.write("a", "summary", "size", "size_count", {"q": "x"}, 2)
    folder.write("a", "summary", "size", "size_sum", {"q": "x"}, 7)
    folder.observe("a", "took", {"q": "x"}, {1.0: 1, 2.0: 2, math.inf: 3}, 11.5)
    folder.observe("a", "took", {"q": "y"}, {1.0: 0, 2.0: 0, math.inf: 0}, 0)
    found = decoded(Exposition(folder).render(PROTOBUF))
    assert {name: family.type for name, family in found.items()} == {
        "jobs_total": COUNTER,
        "bare": COUNTER,
        "depth": GAUGE,
        "size": SUMMARY,
        "took": HISTOGRAM,
    }
    assert {family.help for family in found.values()} == {"help"}
    (jobs,) = found["jobs_total"].metric
    assert labels_of(jobs) == {"q": strange, "r": ""}
    assert jobs.counter.value == 2.5
    assert found["depth"].metric[0].gauge.value == -1.5
    assert labels_of(found["depth"].metric[0]) == {"pid": "a"}
    (size,) = found["size"].metric
    assert (size.summary.sample_count, size.summary.sample_sum) == (2, 7)
    x, y = found["took"].metric
    assert labels_of(x) == {"q": "x"}
    assert (x.histogram.sample_count, x.histogram.sample_sum) == (6, 11.5)
    buckets = [(one.upper_bound, one.cumulative_count) for one in x.histogram.bucket]
    assert buckets == [(1.0, 1), (2.0, 3), (math.inf, 6)]
    assert [one.cumulative_count for one in y.histogram.bucket] == [0, 0, 0]
    assert not x.histogram.HasField("schema")


def test_collected_families_and_what_does_not_fit(folder):
    odd = Metric("odd", "help", "gauge")
    odd.add_sample("odd", {"a": "b"}, 1)
    odd.add_sample("odd_created", {}, 2)
    unknown = Metric("unknown_one", "help", "unknown")
    unknown.add_sample("unknown_one", {}, math.nan)
    quantiles = Metric("quant", "help", "summary")
    quantiles.add_sample("quant", {"quantile": "0.5"}, 3)
    exposition = Exposition(folder, {"mine": Collected(odd, unknown, quantiles)})
    found = decoded(exposition.render(PROTOBUF))
    assert {name: family.type for name, family in found.items()} == {
        "odd": GAUGE,
        "odd_created": UNTYPED,
        "unknown_one": UNTYPED,
        "quant": SUMMARY,
    }
    assert found["odd_created"].metric[0].untyped.value == 2
    assert math.isnan(found["unknown_one"].metric[0].untyped.value)
    (quantile,) = found["quant"].metric[0].summary.quantile
    assert (quantile.quantile, quantile.value) == (0.5, 3)


def test_info_and_enum_are_gauges(folder):
    info = {key("build", "build_info", {}, "help"): Remark({"version": "1"}, 1.0, 1.0)}
    enum = {key("phase", "phase", {}, "help"): Remark({"on": "1", "off": "0"}, 1.0, 1.0)}
    storage = WithRemarks(folder, remarks(folder, INFO, info), remarks(folder, STATESET, enum))
    found = decoded(Exposition(storage).render(PROTOBUF))
    assert labels_of(found["build_info"].metric[0]) == {"version": "1"}
    states = {labels_of(one)["phase"]: one.gauge.value for one in found["phase"].metric}
    assert states == {"on": 1, "off": 0}
    assert {family.type for family in found.values()} == {GAUGE}


def test_exemplars_of_counters_and_buckets(folder):
    folder.write("a", "counter", "jobs", "jobs_total", {}, 2)
    folder.observe("a", "took", {"q": "x"}, {1.0: 1, math.inf: 1}, 3)
    said = {
        key("jobs", "jobs_total", {}, "help"): Remark({"trace_id": "abc"}, 1.0, 1000.25),
        key("took", "took_bucket", {"q": "x", "le": "1.0"}, "help"): Remark({"t": "d"}, 0.5, 2.0),
    }
    storage = WithRemarks(folder, remarks(folder, EXEMPLAR, said))
    found = decoded(Exposition(storage).render(PROTOBUF))
    exemplar = found["jobs_total"].metric[0].counter.exemplar
    assert labels_of(exemplar) == {"trace_id": "abc"}
    assert (exemplar.value, exemplar.timestamp.seconds) == (1.0, 1000)
    assert exemplar.timestamp.nanos == 250_000_000
    first, last = found["took"].metric[0].histogram.bucket
    assert labels_of(first.exemplar) == {"t": "d"}
    assert not last.HasField("exemplar")


@pytest.mark.parametrize("escaping", ["underscores", "allow-utf-8", "values", "dots"])
def test_names_follow_the_escaping_scheme(folder, escaping):
    folder.write("a", "counter", "jobs.done", "jobs.done_total", {"q.r": "x"}, 2)
    form = Format(openmetrics=False, version="", escaping=escaping, protobuf=True)
    exposition = Exposition(folder)
    ((name, family),) = decoded(exposition.render(form)).items()
    text = exposition.render(Format(openmetrics=False, version="1.0.0", escaping=escaping)).decode()
    assert name in text
    ((label, value),) = labels_of(family.metric[0]).items()
    assert label in text
    assert value == "x"
    assert family.type == COUNTER
    if escaping == "allow-utf-8":
        assert (name, label) == ("jobs.done_total", "q.r")


def test_le_and_quantile_are_labels_like_others_where_they_mean_nothing(folder):
    for text in ("0.5", "high"):
        folder.write("a", "gauge_max", "took", "took", {"quantile": text, "q": "x"}, 1)
        folder.write("a", "counter", "jobs", "jobs_total", {"le": text}, 2)
        folder.write("a", "summary", "size", "size_count", {"le": text}, 3)
        folder.write("a", "summary", "size", "size_sum", {"le": text}, 4)
        folder.observe("a", "wait", {"quantile": text}, {1.0: 1, math.inf: 2}, 5)
    odd = Metric("odd", "help", "histogram")
    odd.add_sample("odd_bucket", {"le": "wide"}, 1)
    exposition = Exposition(folder, {"mine": Collected(odd)})
    found = decoded(exposition.render(PROTOBUF))
    labels = {name: [labels_of(one) for one in family.metric] for name, family in found.items()}
    both = ("0.5", "high")
    assert labels == {
        "took": [{"q": "x", "quantile": text} for text in both],
        "jobs_total": [{"le": text} for text in both],
        "size": [{"le": text} for text in both],
        "wait": [{"quantile": text} for text in both],
        "odd": [{"le": "wide"}],
    }
    assert [one.gauge.value for one in found["took"].metric] == [1, 1]
    assert [one.counter.value for one in found["jobs_total"].metric] == [2, 2]
    assert [one.summary.sample_count for one in found["size"].metric] == [3, 3]
    for one in found["wait"].metric:
        assert [bucket.cumulative_count for bucket in one.histogram.bucket] == [1, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_what_is_no_count_costs_only_itself(folder, value):
    """Bits of a page can be wrong, and a backend may give any double."""
    folder.observe("a", "took", {}, {1.0: 1, math.inf: value}, value)
    folder.write("a", "summary", "size", "size_count", {}, value)
    folder.write_key("a", NATIVE, bucket_key("took", {}, "help", 3).decode(), value)
    folder.write("a", "counter", "jobs", "jobs_total", {}, value)
    said = {key("jobs", "jobs_total", {}, "help"): Remark({"t": "d"}, value, value)}
    found = decoded(
        Exposition(WithRemarks(folder, remarks(folder, EXEMPLAR, said))).render(PROTOBUF)
    )
    assert found.keys() == {"took", "size", "jobs_total"}
    assert repr(found["jobs_total"].metric[0].counter.value) == repr(value)
    assert found["took"].metric[0].histogram.bucket[0].cumulative_count == 1
    most = 2**53 if value > 0 else 0
    assert found["size"].metric[0].summary.sample_count == most


def test_only_what_is_asked_for_by_name(folder):
    folder.write("a", "counter", "jobs", "jobs_total", {}, 2)
    folder.write("a", "counter", "jobs2", "jobs2_total", {}, 2)
    assert decoded(Exposition(folder).render(PROTOBUF, ["jobs_total"])).keys() == {"jobs_total"}


def bounds(histogram):
    """The buckets of a native histogram: {(lower bound, upper bound): count}."""
    found, at, count, deltas = {}, 0, 0, iter(histogram.positive_delta)
    base = 2 ** (2**-histogram.schema)
    for span in histogram.positive_span:
        at += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[base ** (at - 1), base**at] = count
            at += 1
    assert next(deltas, None) is None
    return found


@pytest.mark.parametrize("seed", range(10))
def test_native_buckets_hold_what_was_observed_by_several_processes(folder, seed):
    chance = random.Random(seed)
    values = [chance.lognormvariate(-3, 2) for _ in range(2000)] + [0.0, 1e-9, 1e9]
    for value in values:
        process = chance.choice("abc")
        stored = bucket_key("took", {"q": "x"}, "help", native.index(value)).decode()
        name = f"{NATIVE}_{process}.db"
        before = folder.files[name].stock.read_value(stored)[0] if name in folder.files else 0
        folder.write_key(process, NATIVE, stored, before + 1)
    folder.observe("a", "took", {"q": "x"}, {1.0: 1, math.inf: len(values) - 1}, sum(values))
    text = Exposition(folder).render(TEXT_0_0_4)
    assert text.count(b"\n") == 2 + 4  # nothing of them is in text
    (metric,) = decoded(Exposition(folder).render(PROTOBUF))["took"].metric
    histogram = metric.histogram
    assert (histogram.schema, histogram.zero_threshold) == (4, 2**-20)
    assert histogram.sample_count == len(values)
    assert histogram.zero_count == 2
    buckets = bounds(histogram)
    assert sum(buckets.values()) + histogram.zero_count == len(values)
    usual = [value for value in values if 2**-20 < value < 4096]
    for (lower, upper), count in buckets.items():
        expected = sum(lower < value <= upper for value in usual)
        assert count == expected + (upper > 4000)
    assert len(buckets) <= native.LAST - native.ZERO


def test_every_value_has_a_bucket():
    values = [0.0, 5e-324, 2**-20, 1e-6, 1.0, 2.0, 4096.0, 4097.0, 1e308, math.inf]
    indices = [native.index(value) for value in values]
    assert indices == sorted(indices)
    assert indices[0] == native.ZERO
    assert indices[-1] == native.LAST
    assert native.index(1.0) == 0
    assert native.index(2.0) == 16
