"""Prometheus' protobuf format: families as messages, each after its length.

It is the only format that has native histograms. The few messages it takes are
written here by hand, see https://github.com/prometheus/client_model
(io/prometheus/client/metrics.proto).

What is encoded are samples as they are written in text: the text before the
value, which is taken apart once, and the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from . import native
from .native import Buckets
from .storage import Remark
from .text import encoded, escape_name, exposed
from .wire import delimited, double, natural, packed, sint, uint, varint

_COUNTER, _GAUGE, _SUMMARY, _UNTYPED, _HISTOGRAM = range(5)
_TYPES = {
    "counter": _COUNTER,
    "gauge": _GAUGE,
    "summary": _SUMMARY,
    "untyped": _UNTYPED,
    "histogram": _HISTOGRAM,
}
#: The label that is no label in a message, by type.
_BOUND_LABELS = {_HISTOGRAM: "le", _SUMMARY: "quantile"}
_MOST_REMEMBERED = 200_000

_SAMPLE = re.compile(r"\n([^{ ]*)(?:\{(.*)\})? ", re.DOTALL)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ITEM = re.compile(rf"({_QUOTED}|[^=,]*)(?:=({_QUOTED}))?,?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def _label(name: str, value: str) -> bytes:
    return delimited(1, delimited(1, encoded(name)) + delimited(2, encoded(value)))


class Sample(NamedTuple):
    """The text before a value, taken apart."""

    name: str
    #: Encoded, without that of the bound.
    labels: bytes
    #: The value of ``le`` in a histogram, of ``quantile`` in a summary.
    bound: float | None


class Samples(dict[bytes, Sample]):
    """Texts before values taken apart, remembered, of families of one type."""

    def __init__(self, number: int) -> None:
        self._bound_label = _BOUND_LABELS.get(number)

    def __missing__(self, text: bytes) -> Sample:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        sample = self[text] = _taken_apart(text.decode(), self._bound_label)
        return sample


def _taken_apart(text: str, bound_label: str | None) -> Sample:
    match = _SAMPLE.fullmatch(text)
    assert match is not None, text
    name, inside = match.groups()
    labels: list[bytes] = []
    bound = None
    for item in _ITEM.finditer(inside or ""):
        first, value = item.groups()
        if not first:
            continue
        if value is None:
            name = _unquoted(first)
        else:
            number = _number(_unquoted(value)) if first == bound_label else None
            if number is None:
                labels.append(_label(_unquoted(first), _unquoted(value)))
            else:
                bound = number
    return Sample(name, b"".join(labels), bound)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text[1:-1])


@dataclass
class _Row:
    """What there is of one label set."""

    values: dict[str, float] = field(default_factory=dict)
    buckets: list[tuple[float, float, bytes]] = field(default_factory=list)
    exemplar: bytes = b""
    count_text: bytes = b""


class Encoder:
    """Encodes families. For one thread at a time."""

    def __init__(self) -> None:
        self._samples = {number: Samples(number) for number in _WRITERS}

    def family(
        self,
        header: tuple[str, str, str, set[str]],
        samples: Iterable[tuple[bytes, float]],
        escaping: str,
        exemplars: Mapping[bytes, Remark],
        buckets: Buckets,
    ) -> bytes:
        """A family's message, and those of samples that don't fit into it; empty if there are none.

        ``header`` is its name, type, help and the names of its samples, ``samples`` the texts
        before values, and values.
        """
        family, kind, help_text, names = header
        exposed_name, exposed_type = exposed(family, kind, names)
        name, number = escape_name(exposed_name, escaping), _TYPES.get(exposed_type, _UNTYPED)
        taken_apart = self._samples[number]
        rows: dict[bytes, _Row] = {}
        strangers: dict[str, list[bytes]] = {}
        for text, value in samples:
            sample = taken_apart[text]
            part = sample.name.removeprefix(name) if sample.name.startswith(name) else None
            if part is None or part not in _PARTS[number]:
                content = delimited(5, double(1, value))
                strangers.setdefault(sample.name, []).append(sample.labels + content)
                continue
            row = rows.get(sample.labels)
            if row is None:
                row = rows[sample.labels] = _Row()
            exemplar = _exemplar(exemplars[text]) if text in exemplars else b""
            if sample.bound is not None:
                row.buckets.append((sample.bound, value, exemplar))
            else:
                row.values[part] = value
                row.exemplar = exemplar
                if part == "_count":
                    row.count_text = text
        write = _WRITERS[number]
        metrics = [labels + write(row, buckets) for labels, row in rows.items()]
        return b"".join(
            _message(*one)
            for one in (
                (name, help_text, number, metrics),
                *((other, help_text, _UNTYPED, each) for other, each in strangers.items()),
            )
            if one[-1]
        )


def _message(name: str, help_text: str, number: int, metrics: list[bytes]) -> bytes:
    content = b"".join(
        (
            delimited(1, encoded(name)),
            delimited(2, encoded(help_text)),
            uint(3, number),
            *(delimited(4, metric) for metric in metrics),
        )
    )
    return varint(len(content)) + content


def _exemplar(remark: Remark) -> bytes:
    seconds, rest = divmod(remark.time, 1)
    when = uint(1, natural(seconds)) + uint(2, min(natural(rest * 1e9), 999_999_999))
    labels = b"".join(_label(name, value) for name, value in remark.labels.items())
    return labels + double(2, remark.value) + delimited(3, when)


def _counter(row: _Row, _: Buckets) -> bytes:
    exemplar = delimited(2, row.exemplar) if row.exemplar else b""
    return delimited(3, double(1, row.values[""]) + exemplar)


def _gauge(row: _Row, _: Buckets) -> bytes:
    return delimited(2, double(1, row.values[""]))


def _untyped(row: _Row, _: Buckets) -> bytes:
    return delimited(5, double(1, row.values[""]))


def _summary(row: _Row, _: Buckets) -> bytes:
    quantiles = (delimited(3, double(1, q) + double(2, value)) for q, value, _ in row.buckets)
    return delimited(4, _totals(row.values.get("_count", 0.0), row) + b"".join(quantiles))


def _totals(count: float, row: _Row) -> bytes:
    return uint(1, natural(count)) + double(2, row.values.get("_sum", 0.0))


def _histogram(row: _Row, all_buckets: Buckets) -> bytes:
    buckets = b"".join(
        delimited(
            3,
            uint(1, natural(value))
            + double(2, bound)
            + (delimited(3, exemplar) if exemplar else b""),
        )
        for bound, value, exemplar in row.buckets
    )
    counts = all_buckets.get(row.count_text)
    if not counts:
        return delimited(7, _totals(row.values.get("_count", 0.0), row) + buckets)
    # Prometheus refuses a native histogram whose count is not that of its buckets.
    whole = {at: natural(count) for at, count in counts.items()}
    return delimited(7, _totals(sum(whole.values()), row) + buckets + _native(whole))


def _native(counts: Mapping[int, int]) -> bytes:
    """Schema, zero bucket and the buckets that are not empty: spans of neighbours, differences."""
    spans: list[list[int]] = []
    deltas: list[int] = []
    before, end = 0, 0
    for at in sorted(counts.keys() - {native.ZERO}):
        count = counts[at]
        if spans and at == end:
            spans[-1][1] += 1
        else:
            spans.append([at - end, 1])
        deltas.append(count - before)
        before, end = count, at + 1
    return b"".join(
        (
            sint(5, native.SCHEMA),
            double(6, native.ZERO_THRESHOLD),
            uint(7, counts.get(native.ZERO, 0)),
            *(delimited(12, sint(1, offset) + uint(2, length)) for offset, length in spans),
            packed(13, deltas),
        )
    )


_WRITERS: dict[int, Callable[[_Row, Buckets], bytes]] = {
    _COUNTER: _counter,
    _GAUGE: _gauge,
    _SUMMARY: _summary,
    _UNTYPED: _untyped,
    _HISTOGRAM: _histogram,
}
#: What the names of samples have behind that of their family.
_PARTS: dict[int, frozenset[str]] = {
    _COUNTER: frozenset({""}),
    _GAUGE: frozenset({""}),
    _UNTYPED: frozenset({""}),
    _SUMMARY: frozenset({"", "_count", "_sum"}),
    _HISTOGRAM: frozenset({"_bucket", "_count", "_sum"}),
}
