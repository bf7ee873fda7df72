"""Counts of instances that are gone: what is added up, and how.

Sums are kept as two doubles, the sum and what it lacks to the exact one. So it
makes no difference when, in which order and how often instances are added to
the archive: a scrape, which adds up exactly, gives the same number before and
after, to the last digit. A counter that fell by rounding would look like a
restart to Prometheus.

That a series was removed is kept beside its counts, as a kind of its own: the
latest time at which somebody did it who is gone.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping

from gunicorn_prometheus_core.storage import SUMMED_KINDS, Process, Snapshot

from . import encoding
from .encoding import Entry
from .incoming import Incoming

Pair = tuple[float, float]
#: By process and kind: pairs by key.
Counts = dict[tuple[str, str], dict[bytes, Pair]]

#: Kinds whose pairs are a sum and the rest of it; a gauge's time is not kept there.
ADDED = SUMMED_KINDS | {"gauge_sum"}


def plus(a: Pair, b: Pair) -> Pair:
    """The exact sum of two pairs, as far as two doubles can hold it."""
    high, rest = _two_sum(a[0], b[0])
    return _two_sum(high, rest + a[1] + b[1]) if rest or a[1] or b[1] else (high, 0.0)


def _two_sum(a: float, b: float) -> Pair:
    """Knuth's TwoSum: the rounded sum and its error."""
    total = a + b
    part = total - a
    error = (a - (total - part)) + (b - part)
    return (total, error) if math.isfinite(error) else (total, 0.0)  # infinities have none


_REMOVED = {kind: f"{kind}-removed" for kind in SUMMED_KINDS}
_OF_REMOVED = {name: kind for kind, name in _REMOVED.items()}

_KEPT: dict[str, Callable[[Pair, Pair], Pair]] = {
    **dict.fromkeys(ADDED, plus),
    **dict.fromkeys(_OF_REMOVED, max),
    "gauge_min": min,
    "gauge_max": max,
    "gauge_mostrecent": lambda a, b: max(a, b, key=lambda pair: pair[1]),
}


def add(counts: Counts, more: Iterable[tuple[str, str, Iterable[tuple[bytes, Pair]]]]) -> None:
    """Add what is kept of an instance that is gone: cells as ``Incoming.cells`` gives them."""
    for process, kind, cells in more:
        combine = _KEPT.get(kind)
        if combine is None:
            continue
        page = counts.setdefault((process, kind), {})
        for key, (first, second) in cells:
            pair = first, second
            page[key] = combine(page[key], pair) if key in page else pair


def of_instance(incoming: Incoming) -> Counts:
    """What is kept of a living instance's data, where the second of each pair is a time."""
    counts: Counts = {}
    for process, kind, cells in incoming.cells():
        if kind not in _KEPT:
            continue
        page = counts[process, kind] = {}
        for key, (value, time) in cells:
            if time >= 0.0 or kind in SUMMED_KINDS:
                page[key] = value, 0.0 if kind in ADDED else time
            if time < 0.0 and kind in SUMMED_KINDS:
                counts.setdefault((process, _REMOVED[kind]), {})[key] = -time, 0.0
    return counts


def of_archive(incoming: Incoming) -> Counts:
    """What an archive holds."""
    return {(process, kind): dict(cells) for process, kind, cells in incoming.cells()}


def add_counts(counts: Counts, more: Counts) -> None:
    """Add other counts."""
    add(counts, ((process, kind, page.items()) for (process, kind), page in more.items()))


def stored(counts: Counts, processes: Iterable[Process]) -> encoding.Stored:
    """Counts in the form they are stored in."""
    doubles = array("d")
    added = []
    for (process, kind), page in counts.items():
        added.append(Entry(process, kind, 2, False, list(page)))
        doubles.extend(number for pair in page.values() for number in pair)
    log = encoding.frame(added)
    state = encoding.state(encoding.new_log(), len(log), len(doubles), processes)
    return encoding.Stored(encoding.chunks(doubles.tobytes()), log, state)


def snapshots(
    counts: Counts, processes: Mapping[str, Process], instance: str, sign: int = 1
) -> list[Snapshot]:
    """Counts as snapshots; ``sign`` -1 takes away what is added up instead, and nothing else.

    The rests of sums come as snapshots of another instance: they are summed up like everything.
    """
    found = []
    for (name, kind), page in counts.items():
        if sign < 0 and kind not in ADDED:
            continue
        process = processes.get(name) or Process(name, "other", name, alive=False)
        keys = list(page)
        if kind in _OF_REMOVED:
            found.append(_removed(process, _OF_REMOVED[kind], page, instance))
            continue
        doubles = array("d", (sign * n for pair in page.values() for n in pair))
        doubles.append(0.0)  # a gauge's value is followed by a time, and so the last rest is
        values = memoryview(doubles)
        found.append(Snapshot(process, kind, keys, range(0, 2 * len(keys), 2), values, instance))
        if kind in ADDED:
            rests = range(1, 2 * len(keys), 2)
            found.append(Snapshot(process, kind, keys, rests, values, f"{instance}-rests"))
    return found


def _removed(process: Process, kind: str, page: Mapping[bytes, Pair], instance: str) -> Snapshot:
    """Nothing to add, and the times of removals."""
    values = memoryview(array("d", (n for since, _ in page.values() for n in (0.0, -since))))
    at = range(0, 2 * len(page), 2)
    return Snapshot(process, kind, list(page), at, values, f"{instance}-removed", removed=True)
