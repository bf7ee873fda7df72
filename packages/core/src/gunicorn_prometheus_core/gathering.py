"""Getting many doubles of a snapshot by position and adding them up, in calls that run in C."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from .storage import Snapshot

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


def exact_sum(parts: Sequence[float]) -> float:
    """The sum as if added up without rounding, so it doesn't depend on how it is split up."""
    try:
        return math.fsum(parts)
    except (OverflowError, ValueError):  # infinities of both signs, which sum to NaN
        return sum(parts)


def sum_and_rest(parts: Sequence[float]) -> tuple[float, float]:
    """The sum, and what it lacks to the exact one: both are to be kept and added up again.

    With the sum alone a counter may fall by its last digit when what was added up in one way is
    added up in another, and to Prometheus that is a restart.
    """
    total = exact_sum(parts)
    return total, exact_sum((*parts, -total)) if math.isfinite(total) else 0.0


class Column:
    """One process's part of a table: which row each of its keys is, and how to get its values."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.keys: Sequence[bytes] = snapshot.keys
        self.at: Sequence[int] = snapshot.at
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
