"""Native histograms: buckets at powers of two and between, counted only where there is something.

Prometheus calls this a schema: with number 4 there are sixteen buckets from one
power of two to the next, so that no value is further than 4.4 % from the bounds
of its bucket. See https://prometheus.io/docs/specs/native_histograms/.

A bucket is stored as a sample of the family whose name is the bucket's index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log2

from .families import MergedFamily
from .recording import key
from .series import Series
from .storage import Snapshot
from .tables import SummedTable
from .text import SamplePrefixes

SCHEMA = 4
_PER_DOUBLING = 1 << SCHEMA
#: What is smaller is counted as zero, what is larger in the last bucket: from a microsecond to
#: more than an hour, which bounds the number of buckets of a series by 513.
ZERO_THRESHOLD, _LARGEST = 2.0**-20, 2.0**12
_FIRST, LAST = -20 * _PER_DOUBLING + 1, 12 * _PER_DOUBLING
#: The index of what is counted as zero.
ZERO = _FIRST - 1

#: By text before the value of a histogram's ``_count``: what its native buckets hold, by index.
Buckets = Mapping[bytes, Mapping[int, float]]


def index(value: float) -> int:
    """Index of the bucket of a value: above 2 ** ((index - 1) / 16), up to 2 ** (index / 16)."""
    if value <= ZERO_THRESHOLD:
        return ZERO
    if value > _LARGEST:
        return LAST
    return max(ceil(log2(value) * _PER_DOUBLING), _FIRST)


def bucket_key(family: str, labels: Mapping[str, str], help_text: str, at: int) -> bytes:
    """The key of a bucket of one series."""
    return key(family, str(at), labels, help_text)


class NativeTable(SummedTable):
    """The native buckets of all histograms."""

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        super().__init__(kind, prefixes)
        self._places: dict[str, dict[int, tuple[bytes, int]]] = {}

    def _forget(self) -> None:
        super()._forget()
        self._places.clear()

    def _add(self, row: int, series: Series) -> None:
        text = self._prefixes.labels(series.labels.items())
        place = self._prefixes.join(f"{series.family}_count", text), int(series.sample)
        self._places.setdefault(series.family, {})[row] = place

    def _arrange(self, family: MergedFamily) -> None:
        """Nothing is written of them in text."""

    def buckets(self, snapshots: Sequence[Snapshot]) -> dict[str, Buckets]:
        """What the buckets of each family hold now."""
        totals = self._totals(self._update(snapshots), snapshots)
        found: dict[str, Buckets] = {}
        for family, places in self._places.items():
            sets: dict[bytes, dict[int, float]] = {}
            for row, (prefix, at) in places.items():
                if totals[row]:
                    sets.setdefault(prefix, {})[at] = totals[row]
            found[family] = sets
        return found
