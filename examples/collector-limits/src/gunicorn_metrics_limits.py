"""How many files the workers may open: a collector, the entry point ``limits``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from gunicorn_prometheus_core.storage import Process

_OPEN_FILES = re.compile(r"^Max open files +(\d+)", re.MULTILINE)


class Limits:
    """See :class:`gunicorn_prometheus_core.exposition.Collector`."""

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """The family, asked of the system at each scrape."""
        family = GaugeMetricFamily(
            "workers_open_files_limit", "Files that a worker may have open.", labels=["worker_id"]
        )
        for process in processes:
            if process.role == "worker" and process.alive and process.pid is not None:
                found = _OPEN_FILES.search(_limits(process.pid))
                if found is not None:
                    family.add_metric([process.number], float(found[1]))
        yield family


def _limits(pid: int) -> str:
    """What the system says; "" of a process that has just ended, or that isn't ours to look at."""
    try:
        return Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return ""
