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

import operator
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any

from .catalogue import PER_WORKER
from .recording import key
from .series import Series, parse
from .storage import Snapshot
from .text import Format, NumberTexts, SamplePrefixes, header

Gather = Callable[[Any], Sequence[float]]


_CHUNK = 1024


def gather(positions: Sequence[int]) -> Gather:
    """A function that picks these positions, as a slice when they are evenly spaced."""
    size = len(positions)
    if size == 0:
        return lambda values: ()
    if size == 1:
        # itemgetter of one position would give the item itself.
        (only,) = positions
        return lambda values: (values[only],)
    first = positions[0]
    step = positions[1] - first
    if step > 0 and list(positions) == list(range(first, first + step * size, step)):
        return operator.itemgetter(slice(first, first + step * (size - 1) + 1, step))
    return operator.itemgetter(*positions)


class Texts:
    """The texts that rendering keeps: of numbers, and of sample names and labels by scheme."""

    def __init__(self) -> None:
        self.numbers = NumberTexts()
        self._prefixes: dict[str, SamplePrefixes] = {}

    def prefixes(self, scheme: str) -> SamplePrefixes:
        """The prefixes in that escaping scheme."""
        if scheme not in self._prefixes:
            self._prefixes[scheme] = SamplePrefixes(scheme)
        return self._prefixes[scheme]


class Block:
    """Samples of one family that are computed and written together."""

    def __init__(self, prefixes: list[bytes], compute: Callable[[Any], Iterable[float]]) -> None:
        self._prefixes = prefixes
        self._compute = compute

    def write(self, totals: Any, texts: Texts) -> list[bytes]:
        """Pieces of the sample lines, each line after a newline, for the values in ``totals``."""
        pieces = [b""] * (2 * len(self._prefixes))
        pieces[0::2] = self._prefixes
        pieces[1::2] = map(texts.numbers.__getitem__, self._compute(totals))
        return pieces


class MergedFamily:
    """One family as merged: what its header needs, the names of its samples, its values."""

    def __init__(self, name: str, kind: str, help_text: str) -> None:
        self.name = name
        self.type = kind
        self.help = help_text
        self.sample_names: set[str] = set()
        self.blocks: list[Block] = []
        self.totals: Any = ()

    def write(self, form: Format, texts: Texts) -> list[bytes]:
        """Pieces of the family's text."""
        pieces = [header(self.name, self.type, self.help, self.sample_names, form)]
        for block in self.blocks:
            pieces += block.write(self.totals, texts)
        pieces.append(b"\n")
        return pieces


class Column:
    """One process's part of a table: which row each of its keys is, and how to get its values."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.keys = snapshot.keys
        self.at = snapshot.at
        self.rows: list[int] = []
        self._known = 0
        self._size = 0
        self._chunks: list[tuple[Callable[..., Iterable[float]], int]] = []
        self._arrange: Gather | None = None

    def belongs_to(self, snapshot: Snapshot) -> bool:
        """Whether what was learned of an earlier snapshot holds for this one."""
        return self.keys is snapshot.keys and self.at is snapshot.at

    def gather(self, values: memoryview[Any], size: int) -> Iterable[float]:
        """The values in the order of a table of ``size`` rows, 0 for those it doesn't have.

        The first time values are picked one by one. The second time it is
        worth preparing to unpack many in one go, which is faster. They come
        in chunks, so that a sum over processes finds them in the CPU's cache.
        """
        if self._size == size and len(self.rows) == self._known:
            if not self._chunks:
                self._chunks = list(_chunks(self.at[: self._known]))
            own: Iterable[float] = chain.from_iterable(
                unpack(values, at) for unpack, at in self._chunks
            )
        else:
            self._size, self._known = size, len(self.rows)
            self._chunks = []
            self._arrange = None
            own = gather(self.at[: self._known])(values)
            if self.rows != list(range(size)):
                order = [self._known] * size
                for i, row in enumerate(self.rows):
                    order[row] = i
                self._arrange = gather(order)
        return own if self._arrange is None else self._arrange((*own, 0.0))


def _chunks(positions: Sequence[int]) -> Iterator[tuple[Callable[..., Iterable[float]], int]]:
    """Unpacks the doubles at these rising positions: functions, and the byte each begins at."""
    for start in range(0, len(positions), _CHUNK):
        some = positions[start : start + _CHUNK]
        gaps = map(operator.sub, some, (some[0], *(position + 1 for position in some)))
        unpacks = struct.Struct("@" + "".join([f"{8 * gap}xd" for gap in gaps]))
        yield unpacks.unpack_from, 8 * some[0]


class Table:
    """All series of one kind: the union of every process's keys, in order of appearance.

    A table is made for one escaping scheme and keeps the texts of its series in it. It keeps few
    objects that the garbage collector has to look at, whatever the number of series.
    """

    def __init__(self, kind: str, prefixes: SamplePrefixes) -> None:
        self.kind = kind
        self.rejected = 0
        self._prefixes = prefixes
        self._rows: dict[bytes, int] = {}
        self._columns: dict[tuple[str, str], Column] = {}
        self._families: dict[str, MergedFamily] = {}
        #: Rows of series that have a row already, by another help text; and that row.
        self._twins: dict[int, int] = {}
        self._renamed: dict[bytes, int] = {}
        self._replaced = False

    def merge(self, snapshots: Sequence[Snapshot]) -> Iterator[MergedFamily]:
        """The families of this kind with the values that the snapshots hold now."""
        columns = self._update(snapshots)
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

    def _add(self, row: int, series: Series) -> None:
        """Remember a series. Raises ValueError when it is not one of this kind."""
        raise NotImplementedError

    def _arrange(self, family: MergedFamily) -> None:
        """Make the blocks of a family that has got new series."""

    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> Any:
        """The values to compute from, for all families of the table."""
        raise NotImplementedError


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
        family.blocks = [Block(list(samples.values()), gather(list(samples)))]

    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> Sequence[float]:
        size = len(self._rows)
        parts = [c.gather(s.values, size) for c, s in zip(columns, snapshots, strict=True)]
        totals = list(map(sum, zip(*parts, strict=True)))
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

    def _forget(self) -> None:
        super()._forget()
        self._texts.clear()
        self._sets.clear()

    def _add(self, row: int, series: Series) -> None:
        le = series.labels.pop("le", None)
        text = self._prefixes.labels(series.labels.items())
        cells = self._sets.setdefault(series.family, {}).setdefault(text, {})
        if le is None:
            cells[None] = row
        else:
            cells[float(le)] = row
            bound = self._prefixes.labels((("le", le),))
            text = f"{text},{bound}" if text else bound
            self._texts[row] = self._prefixes.join(series.sample, text)

    def _arrange(self, family: MergedFamily) -> None:
        """One block for the label sets that have the same buckets."""
        family.sample_names.update((f"{family.name}_count", f"{family.name}_sum"))
        shapes: dict[tuple[float, ...], list[str]] = {}
        sets = self._sets[family.name]
        for text, cells in sets.items():
            bounds = tuple(sorted(bound for bound in cells if bound is not None))
            if bounds:
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

    def merge(self, snapshots: Sequence[Snapshot]) -> Iterator[MergedFamily]:
        counted = [s for s in snapshots if not (self._live and s.process.alive is False)]
        return super().merge(counted)

    def _totals(self, columns: list[Column], snapshots: Sequence[Snapshot]) -> dict[Any, float]:
        found: dict[Any, float] = {}
        latest: dict[int, float] = {}
        mode, twins = self._mode, self._twins
        for column, snapshot in zip(columns, snapshots, strict=True):
            values, process = snapshot.values, snapshot.process.name
            rows = [twins.get(row, row) for row in column.rows] if twins else column.rows
            for row, position in zip(rows, column.at, strict=False):
                value = values[position]
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


def _table(kind: str, prefixes: SamplePrefixes) -> Table:
    return _TABLES.get(kind, GaugeTable)(kind, prefixes)


_TABLES = {"counter": SummedTable, "histogram": HistogramTable, "summary": SummaryTable}


class Merge:
    """Merges snapshots for one escaping scheme, scrape after scrape. For one thread at a time."""

    def __init__(self, prefixes: SamplePrefixes) -> None:
        self._prefixes = prefixes
        self._tables: dict[str, Table] = {}

    @property
    def rejected(self) -> int:
        """How many stored keys could not be understood so far."""
        return sum(table.rejected for table in self._tables.values())

    def families(self, snapshots: Iterable[Snapshot]) -> Iterator[MergedFamily]:
        """Every family that has samples, each name once."""
        by_kind: dict[str, list[Snapshot]] = {}
        for snapshot in snapshots:
            by_kind.setdefault(snapshot.kind, []).append(snapshot)
        for kind in self._tables.keys() - by_kind.keys():
            del self._tables[kind]
        seen: set[str] = set()
        for kind, members in sorted(by_kind.items()):
            if kind not in self._tables:
                self._tables[kind] = _table(kind, self._prefixes)
            for family in self._tables[kind].merge(members):
                if family.name not in seen:
                    seen.add(family.name)
                    yield family
