"""Memory, CPU, threads and descriptors of the workers, measured when somebody asks.

Runs in the exporter process, so it costs requests nothing, and an idle or hung
worker is measured as well as a busy one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import psutil
from prometheus_client import Metric

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.catalogue import Family
from gunicorn_prometheus_core.storage import Process

_FAMILIES = (
    catalogue.WORKER_MEMORY,
    catalogue.WORKER_CPU,
    catalogue.WORKER_THREADS,
    catalogue.WORKER_OPEN_FDS,
)


class ProcessCollector:
    """See :class:`gunicorn_prometheus_core.collecting.Collector`.

    A worker that can't be seen from here, being in another container or gone
    just now, is left out.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], psutil.Process] = {}

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        metrics = {f.name: Metric(f.name, f.help, f.type) for f in _FAMILIES}
        seen: dict[tuple[int, float], psutil.Process] = {}
        for process in processes:
            if process.role != "worker" or not process.alive or process.pid is None:
                continue
            identity = process.pid, process.started or 0.0
            try:
                sampled = self._seen.get(identity) or _process(*identity)
                if sampled is None:
                    continue
                values = _measure(sampled)
            except psutil.Error:
                continue
            seen[identity] = sampled
            for family, value in values.items():
                metrics[family.name].add_sample(family.name, {"worker_id": process.number}, value)
        # CPU use is measured since the sample before, so the objects are kept.
        self._seen = seen
        return metrics.values()


def children(pid: int) -> int:
    """How many child processes a process has; 0 if there is no such process."""
    try:
        return len(psutil.Process(pid).children())
    except psutil.Error:
        return 0


def _process(pid: int, started: float) -> psutil.Process | None:
    """The process of that pid, if it is older than its slot; else the pid is somebody else's."""
    process = psutil.Process(pid)
    return process if process.create_time() <= started + 1.0 else None


def _measure(process: psutil.Process) -> dict[Family, float]:
    with process.oneshot():
        values: dict[Family, float] = {
            catalogue.WORKER_MEMORY: process.memory_info().rss,
            catalogue.WORKER_CPU: process.cpu_percent(),
            catalogue.WORKER_THREADS: process.num_threads(),
        }
        # A worker of a master that is root has changed its user, and of such a process nobody but
        # root sees the descriptors: https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
        with contextlib.suppress(psutil.AccessDenied):
            values[catalogue.WORKER_OPEN_FDS] = process.num_fds()
        return values
