"""Adding up the cells of all processes: requests, counters, gauges, exits of workers."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.own import Labels, Own
from gunicorn_prometheus_core.storage import Snapshot

Cells = Sequence[tuple[Snapshot, Own]]
#: Of a worker: its instance and its number there.
Identity = tuple[str, str]
#: By storage name and labels.
Counters = Mapping[str, Mapping[Labels, float]]
#: A sum in seconds, then observations per bucket.
Durations = Sequence[float]
#: Storage names of the gauges about listeners.
_BACKLOG = {"waiting": "gunicorn_listener_backlog", "limit": "gunicorn_listener_backlog_limit"}


@dataclass
class Requests:
    """Requests of something: how long they took, and how many had which status."""

    durations: Durations
    statuses: dict[str, float] = field(default_factory=dict)

    def add(self, durations: Durations, statuses: Mapping[str, float]) -> None:
        """Further requests."""
        self.durations = list(map(operator.add, self.durations, durations))
        for status, number in statuses.items():
            self.statuses[status] = self.statuses.get(status, 0.0) + number

    @property
    def errors(self) -> float:
        """How many were answered with a server error."""
        return sum(n for status, n in self.statuses.items() if status.startswith("5"))

    def fields(self) -> dict[str, Any]:
        """What the page gets to know."""
        seconds, *buckets = self.durations
        return {
            "count": sum(buckets),
            "seconds": seconds,
            "buckets": buckets,
            "statuses": dict(sorted((s, n) for s, n in self.statuses.items() if n)),
        }


def duration_bounds(cells: Cells) -> tuple[float, ...]:
    """The upper bounds of the buckets that requests were recorded in, the last one infinite.

    Processes can have recorded with different ones: then all that occur.
    """
    found = {math.inf}
    for snapshot, own in cells:
        if snapshot.kind == "histogram":
            found |= own.bounds(c.HTTP_DURATION)
    return tuple(sorted(found)) if len(found) > 1 else (*c.HTTP_DURATION.buckets, math.inf)


def requests(
    cells: Cells, bounds: tuple[float, ...]
) -> tuple[Requests, dict[tuple[str, str], Requests], dict[Identity, Requests]]:
    """All requests; those by method and endpoint; those by instance and worker."""
    none = [0.0] * (len(bounds) + 1)
    everything = Requests(none)
    routes: dict[tuple[str, str], Requests] = {}
    workers: dict[Identity, Requests] = {}
    for snapshot, own in cells:
        if snapshot.kind != "histogram":
            continue
        worker = Requests(none)
        for labels, pick in own.rows(c.HTTP_DURATION, bounds):
            facts = dict(labels)
            durations = pick(snapshot.values)
            statuses = {facts["status"]: sum(durations[1:])}
            route = facts["method"], facts["endpoint"]
            routes.setdefault(route, Requests(none)).add(durations, statuses)
            worker.add(durations, statuses)
        if snapshot.process.role == "worker":
            workers[snapshot.instance, snapshot.process.number] = worker
        everything.add(worker.durations, worker.statuses)
    return everything, routes, workers


def counters(cells: Cells) -> Counters:
    """Our counters, each the sum over all processes, as scrapes add them up."""
    found: dict[str, dict[Labels, float]] = {}
    for snapshot, own in cells:
        if snapshot.kind == "counter":
            for family, samples in own.cells.items():
                sums = found.setdefault(family, {})
                for _, labels, at in samples:
                    sums[labels] = sums.get(labels, 0.0) + snapshot.values[at]
    return found


def total(counters: Counters, family: c.Family) -> float:
    """A counter summed over its labels."""
    return sum(counters.get(family.storage_name, {}).values())


def gauges(cells: Cells, family: c.Family) -> Iterable[tuple[dict[str, str], float]]:
    """The values that processes have set a merged gauge to."""
    for snapshot, own in cells:
        if snapshot.kind == family.kind:
            for _, labels, at in own.cells.get(family.name, ()):
                yield dict(labels), snapshot.values[at]


def target(cells: Cells) -> float | None:
    """How many workers the masters that live want; None when that isn't known."""
    living = [(one, own) for one, own in cells if one.process.alive is not False]
    wanted = [value for _, value in gauges(living, c.WORKERS_TARGET)]
    return sum(wanted) if wanted else None


def backlog(cells: Cells) -> dict[str, dict[str, float]]:
    """By listener, the connections that wait to be accepted and how many can, as masters see it.

    Masters that share a listener see the same, so it is not added up. Empty where no master tells.
    """
    found: dict[str, dict[str, float]] = {}
    for snapshot, own in cells:
        if snapshot.process.role == "master" and snapshot.process.alive is not False:
            for name, family in _BACKLOG.items():
                for _, labels, at in own.cells.get(family, ()):
                    listener = found.setdefault(dict(labels)["listener"], {})
                    listener[name] = max(snapshot.values[at], listener.get(name, 0.0))
    return found


@dataclass
class End:
    """Exits for one cause: how many, and when the last one was."""

    count: float = 0.0
    last: float = 0.0

    def add(self, count: float = 0.0, last: float = 0.0) -> None:
        """Further ones, or a time at which there was one."""
        self.count += count
        self.last = max(self.last, last)


def exits(cells: Cells) -> dict[Identity, dict[str, End]]:
    """Exits by instance and worker, then by cause."""
    found: dict[Identity, dict[str, End]] = {}
    for snapshot, own in cells:
        for family in (c.WORKER_EXITS, c.WORKER_EXIT_TIME):
            if snapshot.kind != family.kind:
                continue
            for _, labels, at in own.cells.get(family.storage_name, ()):
                facts, value = dict(labels), snapshot.values[at]
                by_cause = found.setdefault((snapshot.instance, facts["worker_id"]), {})
                end = by_cause.setdefault(facts["cause"], End())
                if family is c.WORKER_EXITS:
                    end.add(count=value)
                else:
                    end.add(last=value)
    return found
