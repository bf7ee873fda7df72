"""What the page shows, as one JSON object: counts and gauges as they are now.

Read from the cells that ``/metrics`` is computed from, so the two can't disagree, and per process,
where ``/metrics`` has sums. Nothing is put into relation here: who asks twice has the counts of the
time between. The fields are documented in docs/page.md.
"""

from __future__ import annotations

import json
import math
import operator
import platform
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.derive import current_state
from gunicorn_prometheus_core.exposition import Collector
from gunicorn_prometheus_core.own import Own, OwnCells
from gunicorn_prometheus_core.storage import Process, Snapshot, Storage

#: Routes and exceptions that are given at most; what is beyond is counted.
MOST_ROUTES = 100
MOST_EXCEPTIONS = 50

#: Fields of a worker that are gauges which it records, and which are measured.
_RECORDED = {
    "in_progress": c.WORKER_IN_PROGRESS,
    "capacity": c.WORKER_CAPACITY,
    "websockets_open": c.WORKER_WEBSOCKETS_OPEN,
}
_MEASURED = {
    "memory_bytes": c.WORKER_MEMORY,
    "cpu_percent": c.WORKER_CPU,
    "threads": c.WORKER_THREADS,
    "open_fds": c.WORKER_OPEN_FDS,
}
#: Fields about the exporter that are counters without labels, or are summed over these.
_EXPORTER = {
    "scrapes": c.EXPORTER_SCRAPES,
    "scrape_errors": c.EXPORTER_SCRAPE_ERRORS,
    "scrape_seconds": c.EXPORTER_SCRAPE_SECONDS,
    "collector_errors": c.EXPORTER_COLLECTOR_ERRORS,
    "recording_errors": c.EXPORTER_RECORDING_ERRORS,
    "restarts": c.EXPORTER_RESTARTS,
    "bind_failures": c.EXPORTER_BIND_FAILURES,
}
_STORAGE = {
    "series_dropped": c.EXPORTER_DROPPED,
    "pages_quarantined": c.EXPORTER_QUARANTINED,
    "keys_rejected": c.EXPORTER_KEYS_REJECTED,
    "publish_errors": c.EXPORTER_PUBLISH_ERRORS,
    "collect_errors": c.EXPORTER_COLLECT_ERRORS,
}
_DISTRIBUTIONS = ("gunicorn", "gunicorn-prometheus-exporter", "gunicorn-prometheus-server")

Durations = Sequence[float]  #: A sum in seconds, then observations per bucket.
_NONE: Durations = [0.0] * (len(c.HTTP_DURATION.buckets) + 2)


@dataclass
class _Requests:
    """Requests of something: how long they took, and how many had which status."""

    durations: Durations = field(default_factory=lambda: _NONE)
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, durations: Durations, status: str) -> None:
        self.durations = list(map(operator.add, self.durations, durations))
        self.statuses[status] += int(sum(durations[1:]))

    @property
    def errors(self) -> int:
        return sum(n for status, n in self.statuses.items() if status.startswith("5"))

    def fields(self) -> dict[str, Any]:
        seconds, *buckets = self.durations
        return {
            "count": sum(buckets),
            "seconds": seconds,
            "buckets": buckets,
            "statuses": dict(sorted((s, n) for s, n in self.statuses.items() if n)),
        }


class Status:
    """Makes the object. Used by one thread at a time, the one that uses the storage."""

    def __init__(
        self,
        storage: Storage,
        collectors: Mapping[str, Collector],
        backend: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._collectors = dict(collectors)
        self._backend = backend
        self._clock = clock
        self._cells = OwnCells()
        self._versions = {"python": platform.python_version()} | _versions()

    def text(self) -> bytes:
        """The object as JSON. Raises what the storage raises."""
        return json.dumps(_finite(self.read()), separators=(",", ":")).encode()

    def read(self) -> dict[str, Any]:
        """The object. Raises what the storage raises."""
        snapshots = self._storage.collect()
        processes = self._storage.processes()
        cells = self._cells.of(snapshots)
        counters = _counters(cells)
        measured = self._measure(processes)
        ends = _exits(cells)
        requests, routes, by_worker = _requests(cells)
        return {
            "version": 1,
            "time": self._clock(),
            "host": socket.gethostname(),
            "instance": self._storage.instance,
            "versions": self._versions,
            "bounds": c.HTTP_DURATION.buckets,
            "requests": requests.fields(),
            "workers": self._workers(cells, by_worker, ends, measured),
            "workers_target": _target(cells),
            "master": self._master(processes, cells, counters, ends),
            "routes": _busiest(routes),
            "routes_left_out": max(0, len(routes) - MOST_ROUTES),
            "exceptions": _exceptions(counters),
            "storage": {
                "backend": self._backend,
                "up": measured.get((c.EXPORTER_STORAGE_UP.name, "")),
                "published": measured.get((c.EXPORTER_PUBLISHED.name, "")),
                **{name: _total(counters, family) for name, family in _STORAGE.items()},
            },
            "exporter": {name: _total(counters, family) for name, family in _EXPORTER.items()},
        }

    def _measure(self, processes: Sequence[Process]) -> dict[tuple[str, str], float]:
        """What the collectors measure, by family and worker.

        A collector that fails is left out here; scrapes call it as well, and say so.
        """
        found: dict[tuple[str, str], float] = {}
        for collector in self._collectors.values():
            try:
                metrics = list(collector.collect(processes))
            except Exception:  # noqa: BLE001  logged and counted by the next scrape
                continue
            for metric in metrics:
                for sample in metric.samples:
                    found[sample.name, sample.labels.get("worker_id", "")] = sample.value
        return found

    def _workers(
        self,
        cells: Cells,
        requests: Mapping[tuple[str, str], _Requests],
        ends: Mapping[tuple[str, str], Mapping[str, _End]],
        measured: Mapping[tuple[str, str], float],
    ) -> list[dict[str, Any]]:
        """Every worker that a page is there of, dead ones included, by instance and number."""
        workers: dict[tuple[str, str], dict[str, Any]] = {}
        for snapshot, own in cells:
            process = snapshot.process
            if process.role != "worker":
                continue
            identity = snapshot.instance, process.number
            worker = workers.setdefault(identity, _worker(*identity, process))
            if snapshot.kind == "gauge_liveall":
                found = current_state(own, snapshot)
                if found is not None:
                    worker["state"], worker["since"] = found
                if process.alive is not False:
                    for name, family in _RECORDED.items():
                        values = [snapshot.values[at] for *_, at in own.cells.get(family.name, ())]
                        worker[name] = sum(values) if values else None
        for identity, worker in workers.items():
            instance, number = identity
            worker["requests"] = requests.get(identity, _Requests()).fields()
            worker["exits"] = _end_fields(ends.get(identity, {}))
            if instance == self._storage.instance:  # others' processes are not seen from here
                for name, family in _MEASURED.items():
                    worker[name] = measured.get((family.name, number))
        return [workers[identity] for identity in sorted(workers, key=_natural)]

    def _master(
        self,
        processes: Sequence[Process],
        cells: Cells,
        counters: Counters,
        ends: Mapping[tuple[str, str], Mapping[str, _End]],
    ) -> dict[str, Any]:
        """This host's master, and what all masters have counted."""
        alive = [one for one in processes if one.role == "master" and one.alive]
        # In an upgrade there are two. The newer one is to stay.
        newest = max(alive, key=lambda one: one.started or 0.0, default=None)
        at: dict[str, float] = {}
        for labels, moment in _gauges(cells, c.MASTER_SIGNAL_TIME):
            at[labels["reason"]] = max(moment, at.get(labels["reason"], 0.0))
        signals = {
            dict(labels)["reason"]: number
            for labels, number in counters.get(c.MASTER_SIGNALS.storage_name, {}).items()
        }
        total: dict[str, _End] = {}
        for by_cause in ends.values():
            for cause, end in by_cause.items():
                total.setdefault(cause, _End()).add(end.count, end.last)
        return {
            "pid": newest.pid if newest else None,
            "started": newest.started if newest else None,
            "signals": {
                reason: {"count": number, "last": at.get(reason)}
                for reason, number in sorted(signals.items())
                if number
            },
            "exits": _end_fields(total),
        }


Cells = Sequence[tuple[Snapshot, Own]]
#: By storage name and labels.
Counters = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]


def _versions() -> dict[str, str]:
    """Versions of what is installed beside the exporter process."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _worker(instance: str, number: str, process: Process) -> dict[str, Any]:
    alive = process.alive is not False
    return {
        "id": number,
        "instance": instance,
        "alive": process.alive,
        "pid": process.pid if alive else None,
        "started": process.started if alive else None,
        "state": "starting" if alive else "stopped",
        "since": process.started if alive else process.ended,
        **dict.fromkeys((*_RECORDED, *_MEASURED)),
    }


def _natural(identity: tuple[str, str]) -> tuple[str, int, str]:
    """Worker 10 after worker 9."""
    instance, number = identity
    return instance, int(number) if number.isdecimal() else 0, number


# Requests


def _requests(
    cells: Cells,
) -> tuple[_Requests, dict[tuple[str, str], _Requests], dict[tuple[str, str], _Requests]]:
    """All requests; those by method and endpoint; those by instance and worker."""
    everything = _Requests()
    routes: dict[tuple[str, str], _Requests] = {}
    workers: dict[tuple[str, str], _Requests] = {}
    for snapshot, own in cells:
        if snapshot.kind != "histogram":
            continue
        worker = _Requests()
        for labels, pick in own.rows(c.HTTP_DURATION):
            facts = dict(labels)
            durations, status = pick(snapshot.values), facts["status"]
            route = facts["method"], facts["endpoint"]
            routes.setdefault(route, _Requests()).add(durations, status)
            worker.add(durations, status)
        if snapshot.process.role == "worker":
            workers[snapshot.instance, snapshot.process.number] = worker
        for status, number in worker.statuses.items():
            everything.statuses[status] += number
        everything.durations = list(map(operator.add, everything.durations, worker.durations))
    return everything, routes, workers


def _busiest(routes: Mapping[tuple[str, str], _Requests]) -> list[dict[str, Any]]:
    """The routes that took the most time, the first half; and those with the most errors."""
    by_time = sorted(routes, key=lambda route: -routes[route].durations[0])
    by_errors = sorted(by_time, key=lambda route: -routes[route].errors)
    chosen = dict.fromkeys([*by_time[: MOST_ROUTES // 2], *by_errors[: MOST_ROUTES // 2], *by_time])
    return [
        {"method": method, "endpoint": endpoint, **routes[method, endpoint].fields()}
        for method, endpoint in list(chosen)[:MOST_ROUTES]
    ]


# Counters and gauges


def _counters(cells: Cells) -> Counters:
    """Our counters, each the sum over all processes, as scrapes add them up."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for snapshot, own in cells:
        if snapshot.kind == "counter":
            for family, samples in own.cells.items():
                sums = found.setdefault(family, {})
                for _, labels, at in samples:
                    sums[labels] = sums.get(labels, 0.0) + snapshot.values[at]
    return found


def _total(counters: Counters, family: c.Family) -> float:
    return sum(counters.get(family.storage_name, {}).values())


def _gauges(cells: Cells, family: c.Family) -> Iterable[tuple[dict[str, str], float]]:
    """The values that processes have set a merged gauge to."""
    for snapshot, own in cells:
        if snapshot.kind == family.kind:
            for _, labels, at in own.cells.get(family.name, ()):
                yield dict(labels), snapshot.values[at]


def _target(cells: Cells) -> float | None:
    """How many workers the masters that live want; None when that isn't known."""
    living = [(one, own) for one, own in cells if one.process.alive is not False]
    wanted = [value for _, value in _gauges(living, c.WORKERS_TARGET)]
    return sum(wanted) if wanted else None


@dataclass
class _End:
    """Exits for one cause: how many, and when the last one was."""

    count: float = 0.0
    last: float = 0.0

    def add(self, count: float, last: float) -> None:
        self.count += count
        self.last = max(self.last, last)


def _exits(cells: Cells) -> dict[tuple[str, str], dict[str, _End]]:
    """Exits by instance and worker, then by cause."""
    found: dict[tuple[str, str], dict[str, _End]] = {}
    for snapshot, own in cells:
        for family in (c.WORKER_EXITS, c.WORKER_EXIT_TIME):
            if snapshot.kind != family.kind:
                continue
            for _, labels, at in own.cells.get(family.storage_name, ()):
                facts, value = dict(labels), snapshot.values[at]
                by_cause = found.setdefault((snapshot.instance, facts["worker_id"]), {})
                end = by_cause.setdefault(facts["cause"], _End())
                end.add(*((value, 0.0) if family is c.WORKER_EXITS else (0.0, value)))
    return found


def _end_fields(ends: Mapping[str, _End]) -> dict[str, Any]:
    return {
        cause: {
            "count": end.count,
            "last": end.last or None,
            "type": c.RESTART_TYPES.get(cause, "error"),
        }
        for cause, end in sorted(ends.items())
        if end.count
    }


def _exceptions(counters: Counters) -> list[dict[str, Any]]:
    """The most frequent exceptions that reached a worker."""
    found = counters.get(c.WORKER_FAILED.storage_name, {})
    frequent = sorted(found, key=lambda labels: -found[labels])[:MOST_EXCEPTIONS]
    return [{**dict(labels), "count": found[labels]} for labels in frequent if found[labels]]


def _finite(value: Any) -> Any:
    """The same with whole numbers as such, and None for numbers that JSON doesn't have."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
