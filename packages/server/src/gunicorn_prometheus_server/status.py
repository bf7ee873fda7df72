"""What the page shows, as one JSON object: counts and gauges as they are now.

Read from the cells that ``/metrics`` is computed from, so the two can't disagree, and per process,
where ``/metrics`` has sums. Nothing is put into relation here: who asks twice has the counts of the
time between. The fields are documented in docs/reference/page.md.
"""

from __future__ import annotations

import json
import math
import platform
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.collecting import Collector
from gunicorn_prometheus_core.derive import current_state
from gunicorn_prometheus_core.own import OwnCells
from gunicorn_prometheus_core.storage import Process, Storage

from . import tally

#: By instance and worker, then by cause.
Ends = Mapping[tally.Identity, Mapping[str, tally.End]]
#: By family and worker.
Measured = Mapping[tuple[str, str], float]

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
        counters = tally.counters(cells)
        measured = self._measure(processes)
        ends = tally.exits(cells)
        bounds = tally.duration_bounds(cells)
        requests, routes, by_worker = tally.requests(cells, bounds)
        return {
            "version": 1,
            "time": self._clock(),
            "host": socket.gethostname(),
            "instance": self._storage.instance,
            "versions": self._versions,
            "bounds": bounds[:-1],
            "requests": requests.fields(),
            "workers": self._workers(cells, by_worker, len(bounds), ends, measured),
            "workers_target": tally.target(cells),
            "backlog": [
                {"listener": listener, "waiting": None, "limit": None, **known}
                for listener, known in sorted(tally.backlog(cells).items())
            ],
            "master": self._master(processes, cells, counters, ends),
            "routes": _busiest(routes),
            "routes_left_out": max(0, len(routes) - MOST_ROUTES),
            "exceptions": _exceptions(counters),
            "storage": {
                "backend": self._backend,
                "up": measured.get((c.EXPORTER_STORAGE_UP.name, "")),
                "published": measured.get((c.EXPORTER_PUBLISHED.name, "")),
                **{name: tally.total(counters, family) for name, family in _STORAGE.items()},
            },
            "exporter": {name: tally.total(counters, family) for name, family in _EXPORTER.items()},
        }

    def _measure(self, processes: Sequence[Process]) -> Measured:
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
        cells: tally.Cells,
        requests: Mapping[tally.Identity, tally.Requests],
        buckets: int,
        ends: Ends,
        measured: Measured,
    ) -> list[dict[str, Any]]:
        """Every worker that a page is there of, dead ones included, by instance and number."""
        workers: dict[tally.Identity, dict[str, Any]] = {}
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
        nothing = tally.Requests([0.0] * (buckets + 1))
        for identity, worker in workers.items():
            instance, number = identity
            worker["requests"] = requests.get(identity, nothing).fields()
            worker["exits"] = _end_fields(ends.get(identity, {}))
            if instance == self._storage.instance:  # others' processes are not seen from here
                for name, family in _MEASURED.items():
                    worker[name] = measured.get((family.name, number))
        return [workers[identity] for identity in sorted(workers, key=_natural)]

    def _master(
        self,
        processes: Sequence[Process],
        cells: tally.Cells,
        counters: tally.Counters,
        ends: Ends,
    ) -> dict[str, Any]:
        """This host's master, and what all masters have counted."""
        # Pids are known of this host's processes only. In an upgrade there are two masters, and the
        # newer one is to stay.
        alive = [one for one in processes if one.role == "master" and one.alive and one.pid]
        newest = max(alive, key=lambda one: one.started or 0.0, default=None)
        at: dict[str, float] = {}
        for labels, moment in tally.gauges(cells, c.MASTER_SIGNAL_TIME):
            at[labels["reason"]] = max(moment, at.get(labels["reason"], 0.0))
        signals = {
            dict(labels)["reason"]: number
            for labels, number in counters.get(c.MASTER_SIGNALS.storage_name, {}).items()
        }
        total: dict[str, tally.End] = {}
        for by_cause in ends.values():
            for cause, end in by_cause.items():
                total.setdefault(cause, tally.End()).add(end.count, end.last)
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


def _natural(identity: tally.Identity) -> tuple[str, int, str]:
    """Worker 10 after worker 9."""
    instance, number = identity
    return instance, int(number) if number.isdecimal() else 0, number


def _exceptions(counters: tally.Counters) -> list[dict[str, Any]]:
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


def _busiest(routes: Mapping[tuple[str, str], tally.Requests]) -> list[dict[str, Any]]:
    """The routes that took the most time, the first half; and those with the most errors."""
    by_time = sorted(routes, key=lambda route: -routes[route].durations[0])
    by_errors = sorted(by_time, key=lambda route: -routes[route].errors)
    chosen = dict.fromkeys([*by_time[: MOST_ROUTES // 2], *by_errors[: MOST_ROUTES // 2], *by_time])
    return [
        {"method": method, "endpoint": endpoint, **routes[method, endpoint].fields()}
        for method, endpoint in list(chosen)[:MOST_ROUTES]
    ]


def _end_fields(ends: Mapping[str, tally.End]) -> dict[str, Any]:
    return {
        cause: {
            "count": end.count,
            "last": end.last or None,
            "type": c.RESTART_TYPES.get(cause, "error"),
        }
        for cause, end in sorted(ends.items())
        if end.count
    }
