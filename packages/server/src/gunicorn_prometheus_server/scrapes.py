"""Computing scrapes: one at a time, counted, away from the event loop."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Collection
from typing import TypeVar

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import Recorder, sample_keys
from gunicorn_prometheus_core.text import Format

_GZIP_LEVEL = 4

T = TypeVar("T")


class Scrapes:
    """Renders scrapes in a thread, so that a large one doesn't keep others from being accepted.

    The methods are called from the event loop.
    """

    def __init__(self, exposition: Exposition, recorder: Recorder) -> None:
        self._exposition = exposition
        self._recorder = recorder
        self._turn = asyncio.Lock()
        self._collector_errors: dict[str, int] = {}
        self._rejected = 0
        for family in (catalogue.EXPORTER_SCRAPES, catalogue.EXPORTER_SCRAPE_ERRORS):
            self._count(family, 0)

    async def render(self, form: Format, names: Collection[str], compress: bool) -> bytes:
        """The body of a scrape. Raises what the storage raises."""
        async with self._turn:
            return await asyncio.to_thread(self._render, form, names, compress)

    async def alone(self, compute: Callable[[], T]) -> T:
        """Call this in a thread, while no scrape is computed. It counts as none."""
        async with self._turn:
            return await asyncio.to_thread(compute)

    def _render(self, form: Format, names: Collection[str], compress: bool) -> bytes:
        started = time.perf_counter()
        try:
            self._recorder.tick()
            # Counted before, so that a scrape shows itself.
            self._count(catalogue.EXPORTER_SCRAPES)
            text = self._exposition.render(form, names)
            return gzip.compress(text, _GZIP_LEVEL, mtime=0) if compress else text
        except BaseException:
            self._count(catalogue.EXPORTER_SCRAPE_ERRORS)
            raise
        finally:
            self._count(catalogue.EXPORTER_SCRAPE_SECONDS, time.perf_counter() - started)
            self._count_troubles()

    def _count_troubles(self) -> None:
        for name, errors in self._exposition.collector_errors.items():
            new = errors - self._collector_errors.get(name, 0)
            if new:
                self._collector_errors[name] = errors
                self._count(catalogue.EXPORTER_COLLECTOR_ERRORS, new, collector=name)
        rejected = self._exposition.rejected - self._rejected
        if rejected > 0:
            self._rejected += rejected
            self._count(catalogue.EXPORTER_KEYS_REJECTED, rejected)

    def _count(self, family: catalogue.Family, amount: float = 1, **labels: str) -> None:
        cells = self._recorder.cells("counter", sample_keys(family, labels))
        with self._recorder.lock:
            cells.page.view[cells.at[0]] += amount
