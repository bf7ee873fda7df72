"""What was said of series last: exemplars beside samples, and the families of Info and Enum.

Of what several processes say of the same series, the latest is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .families import Block, MergedFamily
from .series import Series, parse
from .storage import EXEMPLAR, INFO, Remark, Snapshot, latest
from .text import NumberTexts, SamplePrefixes, encoded


class Parsed:
    """Keys decoded, as long as they are asked for."""

    def __init__(self) -> None:
        self.rejected: int = 0
        self._series: dict[bytes, Series | None] = {}

    def of(self, keys: Sequence[bytes]) -> Iterator[Series | None]:
        """The series of these keys, None in place of what is no key."""
        known = self._series
        new = [key for key in keys if key not in known]
        if new:
            if len(known) > 1000 + 2 * len(keys):
                known.clear()
                new = list(keys)
            known.update(zip(new, parse(new), strict=True))
            self.rejected += sum(known[key] is None for key in new)
        return map(known.__getitem__, keys)


class RemarkTable:
    """The families of one kind of remark: all Infos, or all Enums."""

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        self.kind = kind
        self._prefixes = prefixes
        self._parsed = Parsed()

    @property
    def rejected(self) -> int:
        """How many keys could not be understood so far."""
        return self._parsed.rejected

    def merge(self, snapshots: Sequence[Snapshot]) -> Iterator[MergedFamily]:
        """The families, with what was said of each series last."""
        found = latest(snapshot.remarks() for snapshot in snapshots)
        families: dict[str, MergedFamily] = {}
        samples: dict[str, dict[bytes, float]] = {}
        for series, remark in zip(self._parsed.of(list(found)), found.values(), strict=True):
            if series is not None and remark.value:
                family = families.get(series.family)
                if family is None:
                    family = MergedFamily(series.family, self.kind, series.help)
                    families[series.family] = family
                family.sample_names.add(series.sample)
                rows = self._samples(series, remark)
                samples.setdefault(series.family, {}).update(rows)
        for name, family in families.items():
            family.totals = samples[name]
            family.blocks = [Block(list(family.totals), dict[bytes, float].values)]
            yield family

    def _samples(self, series: Series, remark: Remark) -> Iterator[tuple[bytes, float]]:
        labels = series.labels
        if self.kind == INFO:
            yield self._prefix(series, {**remark.labels, **labels}), 1.0
            return
        for state, is_it in remark.labels.items():
            yield self._prefix(series, {**labels, series.family: state}), float(is_it == "1")

    def _prefix(self, series: Series, labels: Mapping[str, str]) -> bytes:
        return self._prefixes.join(series.sample, self._prefixes.labels(sorted(labels.items())))


class Exemplars:
    """Exemplars as they are written, for one escaping scheme. Used by one thread at a time."""

    def __init__(self, prefixes: SamplePrefixes, numbers: NumberTexts) -> None:
        self._prefixes, self._numbers = prefixes, numbers
        self._parsed = Parsed()

    def by_family(self, snapshots: Iterable[Snapshot]) -> dict[str, dict[bytes, Remark]]:
        """The exemplars of each family, by the text before the value of their sample.

        OpenMetrics allows exemplars behind totals of counters and buckets of histograms.
        """
        found = latest(one.remarks() for one in snapshots if one.kind == EXEMPLAR)
        exemplars: dict[str, dict[bytes, Remark]] = {}
        for series, remark in zip(self._parsed.of(list(found)), found.values(), strict=True):
            if series is not None and series.sample.endswith(("_total", "_bucket")):
                exemplars.setdefault(series.family, {})[self._prefix(series)] = remark
        return exemplars

    def texts(self, exemplars: Mapping[bytes, Remark]) -> dict[bytes, bytes]:
        """What to write behind values."""
        return {prefix: self._text(remark) for prefix, remark in exemplars.items()}

    def _prefix(self, series: Series) -> bytes:
        labels = sorted(series.labels.items(), key=le_last)
        return self._prefixes.join(series.sample, self._prefixes.labels(labels))

    def _text(self, remark: Remark) -> bytes:
        labels = self._prefixes.labels(remark.labels.items())
        return b" # {%b} %b %.3f" % (encoded(labels), self._numbers[remark.value], remark.time)


def le_last(label: tuple[str, str]) -> tuple[bool, str]:
    """Sorts labels in the order they are written."""
    return label[0] == "le", label[0]
