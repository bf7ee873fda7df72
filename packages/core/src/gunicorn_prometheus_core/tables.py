"""The series of one kind, over all processes: what a scrape learns and the next one uses."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any

from . import removals
from .catalogue import PER_WORKER
from .families import Block, MergedFamily
from .gathering import Column, exact_sum, gather
from .recording import key
from .series import Series, parse
from .storage import Snapshot
from .text import SamplePrefixes


class Table(ABC):
    """All series of one kind: the union of every process's keys, in order of appearance.

    A table is made for one escaping scheme and keeps the texts of its series in it. It keeps few
    objects that the garbage collector has to look at, whatever the number of series.
    """

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        self.kind = kind
        self.rejected: int = 0
        self._prefixes = prefixes
        self._rows: dict[bytes, int] = {}
        self._columns: dict[tuple[str, str], Column] = {}
        self._families: dict[str, MergedFamily] = {}
        #: Rows of series that have a row already, by another help text; and that row.
        self._twins: dict[int, int] = {}
        self._renamed: dict[bytes, int] = {}
        #: Rows of series that nobody has any more.
        self._gone: frozenset[int] = frozenset()
        self._replaced = False

    def merge(self, snapshots: Sequence[Snapshot]) -> Iterator[MergedFamily]:
        """The families of this kind with the values that the snapshots hold now."""
        columns = self._update(snapshots)
        gone = removals.gone(columns, snapshots, self._twins)
        if gone != self._gone:
            self._gone = gone
            for family in self._families.values():
                self._arrange(family)
        totals = self._totals(columns, snapshots)
        for family in self._families.values():
            family.totals = totals
            if family.blocks:
                yield family

    def _update(self, snapshots: Sequence[Snapshot]) -> list[Column]:
        names = [(snapshot.instance, snapshot.process.name) for snapshot in snapshots]
        if self._columns.keys() - set(names):
            # A process is gone with its page: series that only it had must go too.
            self._forget()
        columns = self._read(names, snapshots)
        if self._replaced and len(set().union(*(c.rows for c in columns))) < len(self._rows):
            # A page was begun anew and nobody has some of its former series.
            self._forget()
            columns = self._read(names, snapshots)
        self._replaced = False
        return columns

    def _read(self, names: list[tuple[str, str]], snapshots: Sequence[Snapshot]) -> list[Column]:
        known = len(self._rows)
        columns: list[Column] = []
        for name, snapshot in zip(names, snapshots, strict=True):
            column = self._columns.get(name)
            if column is None or not column.belongs_to(snapshot):
                self._replaced |= column is not None
                column = self._columns[name] = Column(snapshot)
            columns.append(column)
            tail = snapshot.keys[len(column.rows) :]
            if tail:
                column.rows += self._rows_of(tail)
        if len(self._rows) > known:
            self._learn(list(islice(self._rows, known, None)), known)
        return columns

    def _rows_of(self, keys: Sequence[bytes]) -> list[int]:
        rows: list[Any] = list(map(self._rows.get, keys))
        if None in rows:
            fresh = [key for key, row in zip(keys, rows, strict=True) if row is None]
            self._rows.update(zip(dict.fromkeys(fresh), count(len(self._rows))))
            rows = list(map(self._rows.__getitem__, keys))
        return rows

    def _forget(self) -> None:
        self._rows.clear()
        self._columns.clear()
        self._families.clear()
        self._twins.clear()
        self._renamed.clear()
        self._gone = frozenset()

    def _learn(self, keys: list[bytes], first: int) -> None:
        """Look at series seen for the first time, whose rows begin with ``first``."""
        touched: set[str] = set()
        for row, (stored, series) in enumerate(zip(keys, parse(keys), strict=True), first):
            if series is None:
                self.rejected += 1
            elif series.family not in PER_WORKER:
                family = self._families.get(series.family)
                if family is None:
                    family = MergedFamily(series.family, self.family_type, series.help)
                    self._families[series.family] = family
                if self._renamed or series.help != family.help:
                    twin = self._twin(row, stored, series, family.help)
                    if twin != row:
                        self._twins[row] = twin
                        continue
                try:
                    self._add(row, series)
                except ValueError:
                    self.rejected += 1
                    continue
                family.sample_names.add(series.sample)
                touched.add(series.family)
        for name in touched:
            self._arrange(self._families[name])

    def _twin(self, row: int, stored: bytes, series: Series, help_text: str) -> int:
        """The row of the same series with another help text, as new code leaves it; else ``row``.

        A slot's page keeps the keys of its former owners, who may have run older code.
        """
        if series.help == help_text:
            return self._renamed.get(stored, row)
        usual = key(series.family, series.sample, series.labels, help_text)
        return self._renamed.setdefault(usual, self._rows.get(usual, row))

    @property
    def family_type(self) -> str:
        """Type of the families in this table."""
        return self.kind

    @abstractmethod
    def _add(self, row: int, series: Series) -> None:
        """Remember a series. Raises ValueError when it is not one of this kind."""

    @abstractmethod
    def _arrange(self, family: MergedFamily) -> None:
        """Make the blocks of a family that has got new series."""

    @abstractmethod
    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> Any:
        """The values to compute from, for all families of the table."""


class SummedTable(Table):
    """Counters: every process counts, the dead included."""

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        super().__init__(kind, prefixes)
        self._samples: dict[str, dict[int, bytes]] = {}

    def _forget(self) -> None:
        super()._forget()
        self._samples.clear()

    def _add(self, row: int, series: Series) -> None:
        labels = self._prefixes.labels(series.labels.items())
        prefix = self._prefixes.join(series.sample, labels)
        self._samples.setdefault(series.family, {})[row] = prefix

    def _arrange(self, family: MergedFamily) -> None:
        samples = self._samples[family.name]
        if self._gone:
            samples = {row: text for row, text in samples.items() if row not in self._gone}
        family.blocks = [Block(list(samples.values()), gather(list(samples)))] if samples else []

    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> Sequence[float]:
        size = len(self._rows)
        parts = [c.gather(s.values, size) for c, s in zip(columns, snapshots, strict=True)]
        # Where hosts come, go and are added to the archive, sums must not depend on the order.
        add = exact_sum if any(s.instance for s in snapshots) else sum
        totals = list(map(add, zip(*parts, strict=True)))
        for row, twin in self._twins.items() if totals else ():
            totals[twin] += totals[row]
        return totals


class SummaryTable(SummedTable):
    """Summaries, whose count and sum OpenMetrics wants next to each other."""

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        super().__init__(kind, prefixes)
        self._labels: dict[int, tuple[tuple[str, str], ...]] = {}

    def _forget(self) -> None:
        super()._forget()
        self._labels.clear()

    def _add(self, row: int, series: Series) -> None:
        super()._add(row, series)
        self._labels[row] = tuple(series.labels.items())

    def _arrange(self, family: MergedFamily) -> None:
        samples = self._samples[family.name]
        self._samples[family.name] = {
            row: samples[row] for row in sorted(samples, key=self._labels.__getitem__)
        }
        super()._arrange(family)


class HistogramTable(SummedTable):
    """Histograms, whose buckets are stored one by one and exposed cumulatively."""

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        super().__init__(kind, prefixes)
        self._texts: dict[int, bytes] = {}
        #: By family and label text: the row of each bucket, and of the sum under None.
        self._sets: dict[str, dict[str, dict[float | None, int]]] = {}
        #: Labels, family, label text and cells of the set that was added to last.
        self._last: tuple[Any, str, str, dict[float | None, int]] = None, "", "", {}
        self._bounds: dict[str, str] = {}

    def _forget(self) -> None:
        super()._forget()
        self._texts.clear()
        self._sets.clear()
        self._last = None, "", "", {}
        self._bounds.clear()

    def _add(self, row: int, series: Series) -> None:
        labels = series.labels
        le = labels.pop("le", None)
        # The cells of a label set mostly come one after the other.
        if labels == self._last[0] and series.family == self._last[1]:
            _, _, text, cells = self._last
        else:
            text = self._prefixes.labels(labels.items())
            cells = self._sets.setdefault(series.family, {}).setdefault(text, {})
            self._last = labels, series.family, text, cells
        if le is None:
            cells[None] = row
        else:
            cells[float(le)] = row
            bound = self._bounds.get(le)
            if bound is None:
                bound = self._bounds[le] = self._prefixes.labels((("le", le),))
            text = f"{text},{bound}" if text else bound
            self._texts[row] = self._prefixes.join(series.sample, text)

    def _arrange(self, family: MergedFamily) -> None:
        """One block for the label sets that have the same buckets."""
        family.sample_names.update((f"{family.name}_count", f"{family.name}_sum"))
        shapes: dict[tuple[float, ...], list[str]] = {}
        sets = self._sets[family.name]
        for text, cells in sets.items():
            bounds = tuple(sorted(bound for bound in cells if bound is not None))
            # All have the last one; the others depend on what code says, which may have changed.
            if bounds and cells[bounds[-1]] not in self._gone:
                shapes.setdefault(bounds, []).append(text)
        family.blocks = []
        for bounds, texts in shapes.items():
            columns = [[sets[text][bound] for text in texts] for bound in bounds]
            sums = [sets[text].get(None) for text in texts]
            prefixes: list[list[bytes]] = [[self._texts[row] for row in rows] for rows in columns]
            for suffix in ("_count", "_sum"):
                prefixes.append([self._prefixes.join(family.name + suffix, t) for t in texts])
            written = list(chain.from_iterable(zip(*prefixes, strict=True)))
            family.blocks.append(Block(written, _accumulated(columns, sums)))


def _accumulated(
    columns: list[list[int]], sums: list[int | None]
) -> Callable[[Sequence[float]], Iterable[float]]:
    """Cumulative buckets, count and sum of each label set, in the order they are written."""
    pickers = [gather(column) for column in columns]
    sum_picker = gather([row for row in sums if row is not None]) if None not in sums else None

    def compute(totals: Sequence[float]) -> Iterable[float]:
        levels: list[Sequence[float]] = [pickers[0](totals)]
        for pick in pickers[1:]:
            levels.append(list(map(operator.add, levels[-1], pick(totals))))
        if sum_picker is not None:
            sum_column = sum_picker(totals)
        else:
            sum_column = [0.0 if row is None else totals[row] for row in sums]
        return chain.from_iterable(zip(*levels, levels[-1], sum_column, strict=True))

    return compute
