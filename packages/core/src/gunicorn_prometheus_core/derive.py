"""The documented worker families, computed from what the workers recorded.

Workers record requests once, by method, endpoint and status. What the
documents promise per worker are sums of that, taken here at scrape time; the
worker's number is the number of its slot. Where several hosts are in view, the
workers of one number are summed up as well (docs/adr/0011).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.utils import floatToGoString

from . import catalogue as c
from .gathering import exact_sum
from .own import Labels, Own, OwnCells
from .storage import Process, Snapshot


class _Sums:
    """Samples of the derived families, each the exact sum of all that was added to it."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[tuple[str, Labels], list[float]]] = {}

    def add(self, family: c.Family, sample: str, labels: Mapping[str, str], *parts: float) -> None:
        samples = self._parts.setdefault(family.name, {})
        samples.setdefault((sample, tuple(labels.items())), []).extend(parts)

    def raise_to(self, family: c.Family, labels: Mapping[str, str], value: float) -> None:
        """Let the sample be at least this value."""
        samples = self._parts.setdefault(family.name, {})
        parts = samples.setdefault((family.name, tuple(labels.items())), [value])
        parts[0] = max(parts[0], value)

    def metrics(self) -> Iterator[Metric]:
        for family in c.FAMILIES:
            if family.name in self._parts:
                metric = Metric(family.storage_name, family.help, family.type)
                for (sample, labels), parts in self._parts[family.name].items():
                    metric.add_sample(sample, dict(labels), exact_sum(parts))
                yield metric


#: Documented histogram per worker, and the finer one that it is summed up from.
_HISTOGRAMS = (
    (c.WORKER_DURATION, c.HTTP_DURATION),
    (c.WORKER_REQUEST_SIZE, c.HTTP_REQUEST_SIZE),
    (c.WORKER_RESPONSE_SIZE, c.HTTP_RESPONSE_SIZE),
)


class Derivation:
    """Computes the derived families scrape after scrape. Used by one thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._cells = OwnCells()
        self._clock = clock

    def families(
        self, snapshots: Iterable[Snapshot], processes: Sequence[Process]
    ) -> Iterator[Metric]:
        """The derived and per-worker families that have samples."""
        return self.begin(snapshots)(processes)

    def begin(
        self, snapshots: Iterable[Snapshot]
    ) -> Callable[[Sequence[Process]], Iterator[Metric]]:
        """Look at histograms now, and at the rest when what is returned is called.

        Given the processes it gives the families. What is read between the two
        is no older than the former and no newer than the latter.
        """
        sums, now = _Sums(), self._clock()
        recorded = [each for each in snapshots if each.process.role in ("worker", "master")]
        cells = self._cells.of(recorded)
        for snapshot, own in cells:
            if snapshot.process.role == "worker" and snapshot.kind == "histogram":
                _add_requests(sums, own, snapshot)

        def finish(processes: Sequence[Process]) -> Iterator[Metric]:
            for snapshot, own in cells:
                if snapshot.process.role == "worker":
                    _add_worker(sums, own, snapshot, now)
                elif snapshot.kind == "counter":
                    _add_exits(sums, own, snapshot.values)
            _add_processes(sums, processes, now)
            return sums.metrics()

        return finish


def _add_processes(sums: _Sums, processes: Sequence[Process], now: float) -> None:
    began: dict[str, float] = {}
    for worker in (process for process in processes if process.role == "worker"):
        sums.add(c.WORKERS, c.WORKERS.name, {}, 1 if worker.alive else 0)
        if worker.alive and worker.started is not None:
            number = worker.number
            began[number] = min(worker.started, began.get(number, worker.started))
    for number, since in began.items():
        labels = {"worker_id": number}
        sums.add(c.WORKER_UPTIME, c.WORKER_UPTIME.name, labels, max(0.0, now - since))


#: Of workers of one number on several hosts these gauges are added up,
_SUMMED_GAUGES = (c.WORKER_IN_PROGRESS, c.WORKER_CAPACITY, c.WORKER_WEBSOCKETS_OPEN)
#: and of these the largest counts.
_LARGEST_GAUGES = (c.WORKER_BOOT, c.WORKER_TIMEOUT)


def _add_requests(sums: _Sums, own: Own, snapshot: Snapshot) -> None:
    worker = {"worker_id": snapshot.process.number}
    values = snapshot.values
    for coarse, fine in _HISTOGRAMS:
        _add_histogram(sums, coarse, worker, own, fine, values)
    handled = sum(own.buckets(c.HTTP_DURATION, values).values())
    sums.add(c.WORKER_REQUESTS, c.WORKER_REQUESTS.name, worker, handled)
    busy = own.sums(c.HTTP_DURATION, values)
    sums.add(c.WORKER_BUSY, c.WORKER_BUSY.name, worker, *busy)


def _add_worker(sums: _Sums, own: Own, snapshot: Snapshot, now: float) -> None:
    worker = {"worker_id": snapshot.process.number}
    values = snapshot.values
    if snapshot.kind == "counter":
        for family in (c.WORKER_FAILED, c.WORKER_ERRORS, c.WORKER_WEBSOCKETS):
            for _, labels, at in own.cells.get(family.storage_name, ()):
                sums.add(family, family.name, {**worker, **dict(labels)}, values[at])
    elif snapshot.kind == "gauge_liveall":
        if snapshot.process.alive is not False:
            for family in _SUMMED_GAUGES:
                for *_, at in own.cells.get(family.name, ()):
                    sums.add(family, family.name, worker, values[at])
            for family in _LARGEST_GAUGES:
                for *_, at in own.cells.get(family.name, ()):
                    sums.raise_to(family, worker, values[at])
            for *_, at in own.cells.get(c.WORKER_HEARTBEAT.name, ()):
                sums.raise_to(c.WORKER_HEARTBEAT, worker, max(0.0, now - values[at]))
        _add_state(sums, own, snapshot)


def _add_state(sums: _Sums, own: Own, snapshot: Snapshot) -> None:
    found = current_state(own, snapshot)
    if found is not None:
        state, since = found
        number = snapshot.process.number
        labels = {"worker_id": number, "state": state, "timestamp": str(int(since))}
        value = 0.0 if state == "stopped" else 1.0
        sums.add(c.WORKER_STATE, c.WORKER_STATE.name, labels, value)


def current_state(own: Own, snapshot: Snapshot) -> tuple[str, float] | None:
    """The state that a worker entered last and when, in Unix time; None before the first one.

    A process that is gone has stopped, whatever it said last.
    """
    entered = {
        dict(labels)["state"]: snapshot.values[at]
        for _, labels, at in own.cells.get(c.WORKER_STATE.name, ())
    }
    if not entered:
        return None
    state = max(entered, key=entered.__getitem__)
    if snapshot.process.alive is False:
        return "stopped", max(entered[state], snapshot.process.ended or 0.0)
    return state, entered[state]


def _add_histogram(
    sums: _Sums,
    coarse: c.Family,
    worker: dict[str, str],
    own: Own,
    fine: c.Family,
    values: memoryview[Any],
) -> None:
    buckets = own.buckets(fine, values)
    for bound in (*coarse.buckets, float("inf")):
        labels = {**worker, "le": floatToGoString(bound)}
        level = sum(value for at_most, value in buckets.items() if at_most <= bound)
        sums.add(coarse, f"{coarse.name}_bucket", labels, level)
    sums.add(coarse, f"{coarse.name}_count", worker, sum(buckets.values()))
    sums.add(coarse, f"{coarse.name}_sum", worker, *own.sums(fine, values))


def _add_exits(sums: _Sums, own: Own, values: memoryview[Any]) -> None:
    """The documented restart families: each exit the masters saw, under three names."""
    for _, labels, at in own.cells.get(c.WORKER_EXITS.storage_name, ()):
        facts = dict(labels)
        facts["reason"] = facts["cause"]
        facts["restart_type"] = c.RESTART_TYPES.get(facts["cause"], "error")
        for family in (c.WORKER_RESTARTS, c.WORKER_RESTART_COUNT, c.MASTER_RESTART_COUNT):
            sums.add(family, family.name, {name: facts[name] for name in family.labels}, values[at])
