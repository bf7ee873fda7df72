"""How much room there is for the pages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from prometheus_client import Metric

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.storage import Process


class Room:
    """The families about the file system of a directory; a collector."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """Its size and what is left of it, in bytes; nothing while there is no such directory."""
        try:
            system = os.statvfs(self._directory)
        except FileNotFoundError:
            return
        for family, blocks in (
            (catalogue.EXPORTER_DIRECTORY_SIZE, system.f_blocks),
            (catalogue.EXPORTER_DIRECTORY_AVAILABLE, system.f_bavail),
        ):
            metric = Metric(family.name, family.help, family.type)
            metric.add_sample(family.name, {}, float(blocks * system.f_frsize))
            yield metric
