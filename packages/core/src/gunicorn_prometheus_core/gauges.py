"""Gauges, which are merged by their multiprocess mode instead of being summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .families import Block, MergedFamily
from .gathering import Column
from .series import Series
from .storage import Snapshot
from .tables import Table
from .text import SamplePrefixes


class GaugeTable(Table):
    """Gauges of one multiprocess mode.

    The totals of a gauge table are a mapping of what was found to its value,
    made anew for each scrape: series of a live mode go with their process.
    """

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        super().__init__(kind, prefixes)
        mode = kind.removeprefix("gauge_")
        self._live = mode.startswith("live")
        self._mode = mode.removeprefix("live")
        self._series: dict[int, Series] = {}
        self._found: dict[str, list[Any]] = {}

    @property
    def family_type(self) -> str:
        return "gauge"

    def _forget(self) -> None:
        super()._forget()
        self._series.clear()
        self._found.clear()

    def _add(self, row: int, series: Series) -> None:
        self._series[row] = series

    def _arrange(self, family: MergedFamily) -> None:
        """The blocks are made with the totals, since live series come and go."""

    def merge(self, snapshots: Sequence[Snapshot]) -> Iterator[MergedFamily]:
        counted = [s for s in snapshots if not (self._live and s.process.alive is False)]
        return super().merge(counted)

    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> dict[Any, float]:
        found: dict[Any, float] = {}
        latest: dict[int, float] = {}
        mode, twins, gone = self._mode, self._twins, self._gone
        for column, snapshot in zip(columns, snapshots, strict=True):
            values, process = snapshot.values, snapshot.process.name
            if snapshot.instance:
                process = f"{snapshot.instance}/{process}"
            rows = [twins.get(row, row) for row in column.rows] if twins else column.rows
            for row, position in zip(rows, column.at, strict=False):
                value = values[position]
                if (snapshot.removed and values[position + 1] < 0.0) or row in gone:
                    continue
                if mode == "all":
                    found[row, process] = value
                elif mode == "mostrecent":
                    stamp = values[position + 1]
                    if latest.get(row, 0.0) < stamp:
                        found[row], latest[row] = value, stamp
                elif row not in found:
                    found[row] = value
                elif mode == "sum":
                    found[row] += value
                elif value < found[row] if mode == "min" else value > found[row]:
                    found[row] = value
        self._show(found)
        return found

    def _show(self, found: dict[Any, float]) -> None:
        """Give each family the block of what was found, keeping it while that is the same."""
        by_family: dict[str, list[Any]] = {name: [] for name in self._families}
        for identity in found:
            series = self._series.get(identity[0] if self._mode == "all" else identity)
            if series is not None:
                by_family[series.family].append(identity)
        for name, identities in by_family.items():
            if self._found.get(name) != identities:
                prefixes = [self._prefix(identity) for identity in identities]
                block = Block(prefixes, _looked_up(identities))
                self._families[name].blocks = [block] if identities else []
        self._found = by_family

    def _prefix(self, identity: Any) -> bytes:
        row, process = identity if self._mode == "all" else (identity, None)
        series = self._series[row]
        labels = series.labels
        if process is not None:
            labels = dict(sorted([*labels.items(), ("pid", process)]))
        return self._prefixes.join(series.sample, self._prefixes.labels(labels.items()))


def _looked_up(identities: list[Any]) -> Callable[[dict[Any, float]], Iterable[float]]:
    return lambda totals: map(totals.__getitem__, identities)
