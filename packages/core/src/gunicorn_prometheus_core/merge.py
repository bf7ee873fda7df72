"""Snapshots of many processes merged into families, by prometheus_client's rules.

What has to be looked at once per series (decoding keys, grouping, label text)
is done when a series first appears and kept. A scrape is then, per family, a
few calls that run in C: gather the doubles of each process by position
(``itemgetter``), add the processes up (``map``), accumulate buckets column by
column, and join values with the texts that stand before them.

The rules (which modes sum, keep the least, the greatest or the latest value,
or keep processes apart) are those of
``prometheus_client.multiprocess.MultiProcessCollector``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .families import MergedFamily
from .gauges import GaugeTable
from .remarks import RemarkTable
from .storage import EXEMPLAR, INFO, NATIVE, STATESET, Snapshot
from .tables import HistogramTable, SummaryTable, SummedTable, Table
from .text import SamplePrefixes

_TABLES: dict[str, type[Table] | type[RemarkTable]] = {
    "counter": SummedTable,
    "histogram": HistogramTable,
    "summary": SummaryTable,
    INFO: RemarkTable,
    STATESET: RemarkTable,
}


class Merge:
    """Merges snapshots for one escaping scheme, scrape after scrape. For one thread at a time."""

    def __init__(self, prefixes: SamplePrefixes) -> None:
        self._prefixes = prefixes
        self._tables: dict[str, Table | RemarkTable] = {}

    @property
    def rejected(self) -> int:
        """How many stored keys could not be understood so far."""
        return sum(table.rejected for table in self._tables.values())

    def families(self, snapshots: Iterable[Snapshot]) -> Iterator[MergedFamily]:
        """Every family that has samples, each name once, in the order of the snapshots."""
        by_kind: dict[str, list[Snapshot]] = {}
        for snapshot in snapshots:
            by_kind.setdefault(snapshot.kind, []).append(snapshot)
        # Not families, but written beside their samples.
        for kind in (EXEMPLAR, NATIVE):
            by_kind.pop(kind, None)
        for kind in self._tables.keys() - by_kind.keys():
            del self._tables[kind]
        seen: set[str] = set()
        for kind, members in by_kind.items():
            if kind not in self._tables:
                table = GaugeTable if kind.startswith("gauge_") else _TABLES.get(kind)
                if table is None:
                    continue  # of a later version, on another host
                self._tables[kind] = table(kind, self._prefixes)
            for family in self._tables[kind].merge(members):
                if family.name not in seen:
                    seen.add(family.name)
                    yield family
