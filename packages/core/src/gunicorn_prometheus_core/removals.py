"""Which series nobody has any more, because those who had them have removed them.

A process that removes a series only says so; what it has counted stays in the
sum, so that no counter goes down while others go on counting. The series is
gone when no living process has it, and somebody has removed it since a process
that had it has ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .gathering import Column
from .storage import SUMMED_KINDS, Snapshot

#: They hold series that they never record into, and never remove: a preloaded application's.
_NOT_HOLDING = frozenset({"master", "archive"})


def gone(
    columns: Sequence[Column], snapshots: Sequence[Snapshot], twins: Mapping[int, int]
) -> frozenset[int]:
    """The rows of such series; ``twins`` are rows that are about the same ones as others.

    Costs nothing as long as nobody has ever removed one.
    """
    if not any(snapshot.removed for snapshot in snapshots):
        return frozenset()
    removed: dict[int, float] = {}
    left: dict[int, float] = {}
    for column, snapshot in zip(columns, snapshots, strict=True):
        process, values = snapshot.process, snapshot.values
        holds = process.alive is not False and process.role not in _NOT_HOLDING
        # Who is dead has had its series until its end; those whose end isn't known don't count.
        until = math.inf if holds else process.ended or 0.0
        rows = [twins.get(row, row) for row in column.rows] if twins else column.rows
        for row, position in zip(rows, column.at, strict=False):
            stamp = 0.0 if snapshot.removed is None else values[position + 1]
            if stamp < 0.0:
                removed[row] = max(-stamp, removed.get(row, 0.0))
            else:
                # A gauge's time says nothing of who has it.
                had = stamp if stamp and snapshot.kind in SUMMED_KINDS else until
                left[row] = max(had, left.get(row, 0.0))
    return frozenset(row for row, since in removed.items() if since >= left.get(row, 0.0))
