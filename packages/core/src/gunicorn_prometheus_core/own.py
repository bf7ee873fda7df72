"""Where the cells of our own families are in snapshots, found once per key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import catalogue as c
from .gathering import Gather, gather
from .series import Series, parse
from .storage import Snapshot

_OURS = b'["gunicorn_'
Labels = tuple[tuple[str, str], ...]

#: By storage name: the labels that are recorded of each family. A worker's number is its slot's.
_RECORDED = {
    family.storage_name: frozenset(family.labels)
    - (frozenset({"worker_id", "timestamp"}) if family.source == "worker" else frozenset())
    for family in c.FAMILIES
}


def _is_whole(series: Series) -> bool:
    """Whether it is one of ours. Bits of a page can be wrong, and must not cost the others."""
    recorded = _RECORDED.get(series.family)
    if recorded is None or not recorded <= series.labels.keys():
        return False
    try:
        float(series.labels.get("le", "0"))
    except ValueError:
        return False
    return True


class Own:
    """The cells of our own families in one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.keys: Sequence[bytes] = snapshot.keys
        self.at: Sequence[int] = snapshot.at
        self.seen: int = 0
        #: By storage name: sample name, labels and position of each cell. A cell can be there
        #: twice, with the help texts of two versions of this package.
        self.cells: dict[str, list[tuple[str, Labels, int]]] = {}
        self._buckets: dict[str, dict[float, Callable[[memoryview[Any]], Sequence[float]]]] = {}
        self._sums: dict[str, Callable[[memoryview[Any]], Sequence[float]]] = {}
        self._bounds: dict[str, set[float]] = {}
        #: What was asked for last.
        self._rows: dict[tuple[str, tuple[float, ...]], list[tuple[Labels, Gather]]] = {}

    def update(self, snapshot: Snapshot) -> None:
        keys = self.keys[self.seen :]
        if not keys:
            return
        chosen = [i for i, key in enumerate(keys, self.seen) if key.startswith(_OURS)]
        self.seen += len(keys)
        for i, series in zip(chosen, parse([self.keys[i] for i in chosen]), strict=True):
            if series is not None and _is_whole(series):
                cell = series.sample, tuple(series.labels.items()), self.at[i]
                self.cells.setdefault(series.family, []).append(cell)
        self._buckets.clear()
        self._sums.clear()
        self._bounds.clear()
        self._rows.clear()

    def buckets(self, family: c.Family, values: memoryview[Any]) -> dict[float, float]:
        """Observations per bucket bound, not cumulative, over all label sets."""
        pickers = self._buckets.get(family.name)
        if pickers is None:
            positions: dict[float, list[int]] = {}
            for _, labels, position in self.cells.get(family.name, ()):
                bound = dict(labels).get("le")
                if bound is not None:
                    positions.setdefault(float(bound), []).append(position)
            pickers = {bound: gather(sorted(at)) for bound, at in sorted(positions.items())}
            self._buckets[family.name] = pickers
        return {bound: sum(pick(values)) for bound, pick in pickers.items()}

    def sums(self, family: c.Family, values: memoryview[Any]) -> Sequence[float]:
        """Sum of all observations of each label set."""
        pick = self._sums.get(family.name)
        if pick is None:
            name = f"{family.name}_sum"
            cells = self.cells.get(family.name, ())
            pick = gather(sorted(at for sample, _, at in cells if sample == name))
            self._sums[family.name] = pick
        return pick(values)

    def bounds(self, family: c.Family) -> set[float]:
        """The upper bounds of all buckets of a histogram that there are."""
        if family.name not in self._bounds:
            cells = self.cells.get(family.name, ())
            found = {dict(labels).get("le") for _, labels, _ in cells} - {None}
            self._bounds[family.name] = {float(bound) for bound in found if bound is not None}
        return self._bounds[family.name]

    def rows(self, family: c.Family, bounds: tuple[float, ...]) -> list[tuple[Labels, Gather]]:
        """How to get each label set of a histogram: its sum, then its buckets by these bounds.

        The labels are without ``le``; the buckets are not cumulative, as they are stored. Labels
        can be there twice, as cells can.
        """
        rows = self._rows.get((family.name, bounds))
        if rows is None:
            order = {None: 0} | {bound: n for n, bound in enumerate(bounds, 1)}
            found: dict[tuple[Labels, int], list[int | None]] = {}
            for _, labels, at in self.cells.get(family.name, ()):
                facts = dict(labels)
                le = facts.pop("le", None)
                column = order.get(le if le is None else float(le))
                if column is not None:
                    own, copy = tuple(facts.items()), 0
                    while found.setdefault((own, copy), [None] * len(order))[column] is not None:
                        copy += 1
                    found[own, copy][column] = at
            rows = [(own, _picked(at)) for (own, _), at in found.items()]
            self._rows = {(family.name, bounds): rows}
        return rows


def _picked(positions: list[int | None]) -> Gather:
    """The values at these positions, 0 where there is none."""
    present = [at for at in positions if at is not None]
    if len(present) == len(positions):
        return gather(present)
    return lambda values: [0.0 if at is None else values[at] for at in positions]


class OwnCells:
    """Our own cells in everybody's snapshots; what is learned of one is kept for the next time.

    For one thread at a time.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Own] = {}

    def of(self, snapshots: Iterable[Snapshot]) -> list[tuple[Snapshot, Own]]:
        """Each snapshot with its cells. What is known of snapshots not among them is forgotten."""
        known: dict[tuple[str, str, str], Own] = {}
        found = []
        for snapshot in snapshots:
            identity = (snapshot.instance, snapshot.process.name, snapshot.kind)
            own = self._known.get(identity)
            if own is None or own.keys is not snapshot.keys or own.at is not snapshot.at:
                own = Own(snapshot)
            own.update(snapshot)
            known[identity] = own
            found.append((snapshot, own))
        self._known = known
        return found
