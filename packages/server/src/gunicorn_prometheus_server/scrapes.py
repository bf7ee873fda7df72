"""Computing scrapes: one at a time, shared, counted, away from the event loop."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import Recorder, count
from gunicorn_prometheus_core.text import Format

_GZIP_LEVEL = 4

T = TypeVar("T")


#: Requests for scrapes that may be under way.
_MOST_WAITING = 256
#: Seconds for who does not say how long a scrape may take.
_LONGEST = 120.0


class TooMany(Exception):
    """More scrapes are under way than can be."""


class TookTooLong(Exception):
    """The scrape could not be computed in time."""


@dataclass(frozen=True)
class Wanted:
    """What a scrape is to be; those who want the same get the same."""

    form: Format
    names: frozenset[str] = frozenset()
    compress: bool = False


@dataclass
class _Shared:
    """A scrape that is to be computed, and how many wait for it."""

    result: asyncio.Task[bytes]
    waiting: int = 0


class Scrapes:
    """Renders scrapes in a thread, so that a large one doesn't keep others from being accepted.

    One at a time, and one for all who want the same and came before it was
    begun: so each shows what was recorded before it was asked for. The methods
    are called from the event loop.
    """

    def __init__(self, exposition: Exposition, recorder: Recorder) -> None:
        self._exposition = exposition
        self._recorder = recorder
        self._turn = asyncio.Lock()
        self._next: dict[Wanted, _Shared] = {}
        self._waiting = 0
        self._collector_errors: dict[str, int] = {}
        self._rejected = 0
        for family in (catalogue.EXPORTER_SCRAPES, catalogue.EXPORTER_SCRAPE_ERRORS):
            count(self._recorder, family, 0)

    async def render(self, wanted: Wanted, seconds: float = _LONGEST) -> bytes:
        """The body of a scrape. Raises TooMany, TookTooLong, and what the storage raises."""
        if self._waiting >= _MOST_WAITING:
            raise TooMany
        shared = self._next.get(wanted)
        if shared is None:
            shared = self._next[wanted] = _Shared(asyncio.create_task(self._compute(wanted)))
            shared.result.add_done_callback(_take_note)
        self._waiting += 1
        shared.waiting += 1
        try:
            done, _ = await asyncio.wait([shared.result], timeout=min(seconds, _LONGEST))
        finally:
            self._waiting -= 1
            shared.waiting -= 1
        if not done:
            raise TookTooLong
        return shared.result.result()

    async def _compute(self, wanted: Wanted) -> bytes:
        async with self._turn:
            # From here on others get the next one.
            waiting = self._next.pop(wanted).waiting
            return await asyncio.to_thread(self._render, wanted, waiting) if waiting else b""

    async def alone(self, compute: Callable[[], T]) -> T:
        """Call this in a thread, while no scrape is computed. It counts as none. Raises TooMany."""
        if self._waiting >= _MOST_WAITING:
            raise TooMany
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(compute)
        finally:
            self._waiting -= 1

    def _render(self, wanted: Wanted, scrapes: int) -> bytes:
        started = time.perf_counter()
        try:
            self._recorder.tick()
            # Counted before, so that a scrape shows itself.
            count(self._recorder, catalogue.EXPORTER_SCRAPES, scrapes)
            text = self._exposition.render(wanted.form, wanted.names)
            return gzip.compress(text, _GZIP_LEVEL, mtime=0) if wanted.compress else text
        except BaseException:
            count(self._recorder, catalogue.EXPORTER_SCRAPE_ERRORS, scrapes)
            raise
        finally:
            count(self._recorder, catalogue.EXPORTER_SCRAPE_SECONDS, time.perf_counter() - started)
            self._count_troubles()

    def _count_troubles(self) -> None:
        for name, errors in self._exposition.collector_errors.items():
            new = errors - self._collector_errors.get(name, 0)
            if new:
                self._collector_errors[name] = errors
                count(self._recorder, catalogue.EXPORTER_COLLECTOR_ERRORS, new, collector=name)
        rejected = self._exposition.rejected - self._rejected
        if rejected > 0:
            self._rejected += rejected
            count(self._recorder, catalogue.EXPORTER_KEYS_REJECTED, rejected)


def _take_note(task: asyncio.Task[bytes]) -> None:
    """All who waited may have given up: then nobody else looks at how it ended."""
    if not task.cancelled():
        task.exception()
