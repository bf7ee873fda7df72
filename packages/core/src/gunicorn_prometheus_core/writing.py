"""Families in the format that was asked for: text, or protobuf messages.

A writer is made for one scrape. It is given families as they were merged, and
those that a collector has made, and gives the bytes of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from prometheus_client import Metric

from .families import MergedFamily, Texts
from .native import Buckets
from .protobuf import Encoder
from .remarks import Exemplars, le_last
from .storage import Remark
from .text import Format, SamplePrefixes, header

#: By family: exemplars by the text before the value of their sample.
ByFamily = Mapping[str, Mapping[bytes, Remark]]


class Writer(Protocol):
    """What is asked to write, in whatever format."""

    def metric(self, metric: Metric) -> list[bytes]:
        """The pieces of a family that a collector has made; none if no sample is wanted."""

    def family(self, family: MergedFamily) -> list[bytes]:
        """The pieces of a family that was merged; none if no sample is wanted."""


class TextWriter:
    """Writes text. ``starts`` is how lines begin that are wanted; all if it is empty."""

    def __init__(
        self,
        form: Format,
        texts: Texts,
        starts: tuple[bytes, ...],
        formatter: Exemplars,
        exemplars: ByFamily,
    ) -> None:
        self._form, self._texts, self._starts = form, texts, starts
        self._formatter, self._exemplars = formatter, exemplars

    def metric(self, metric: Metric) -> list[bytes]:
        """The pieces of its text."""
        prefixes, numbers = self._texts.prefixes(self._form.escaping), self._texts.numbers
        names = {sample.name for sample in metric.samples}
        pieces = [header(metric.name, metric.type, metric.documentation, names, self._form)]
        for text, value in _samples(metric, prefixes):
            pieces += (text, numbers[value])
        pieces.append(b"\n")
        return self._only(pieces)

    def family(self, family: MergedFamily) -> list[bytes]:
        """The pieces of its text."""
        behind = self._formatter.texts(self._exemplars.get(family.name, {}))
        return self._only(family.write(self._form, self._texts, behind))

    def _only(self, pieces: list[bytes]) -> list[bytes]:
        """A family's text reduced to the samples that are wanted, empty if none is left."""
        if not self._starts:
            return pieces
        head: list[bytes] = []
        kept: list[bytes] = []
        for line in b"".join(pieces).split(b"\n")[:-1]:
            if line.startswith(b"# "):
                head += (line, b"\n")
            elif line.startswith(self._starts):
                kept += (line, b"\n")
        return head + kept if kept else []


class MessageWriter:
    """Writes protobuf messages. ``starts`` as for text."""

    def __init__(
        self,
        form: Format,
        encoder: Encoder,
        prefixes: SamplePrefixes,
        starts: tuple[bytes, ...],
        exemplars: ByFamily,
        buckets: Mapping[str, Buckets],
    ) -> None:
        self._form, self._encoder, self._prefixes = form, encoder, prefixes
        self._starts = tuple(b"\n" + start for start in starts)
        self._exemplars, self._buckets = exemplars, buckets

    def metric(self, metric: Metric) -> list[bytes]:
        """Its message."""
        names = {sample.name for sample in metric.samples}
        about = metric.name, metric.type, metric.documentation, names
        return self._encoded(about, list(_samples(metric, self._prefixes)))

    def family(self, family: MergedFamily) -> list[bytes]:
        """Its message."""
        about = family.name, family.type, family.help, family.sample_names
        return self._encoded(about, list(family.samples()))

    def _encoded(
        self, about: tuple[str, str, str, set[str]], samples: list[tuple[bytes, float]]
    ) -> list[bytes]:
        if self._starts:
            samples = [sample for sample in samples if sample[0].startswith(self._starts)]
        exemplars, buckets = self._exemplars.get(about[0], {}), self._buckets.get(about[0], {})
        return [self._encoder.family(about, samples, self._form.escaping, exemplars, buckets)]


def _samples(metric: Metric, prefixes: SamplePrefixes) -> list[tuple[bytes, float]]:
    """The text before the value of each sample, and its value."""
    found = []
    for sample in metric.samples:
        labels = prefixes.labels(sorted(sample.labels.items(), key=le_last))
        found.append((prefixes.join(sample.name, labels), float(sample.value)))
    return found
