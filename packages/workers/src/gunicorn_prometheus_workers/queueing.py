"""How long requests wait before they are handled."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.recording import Recorder, sample_keys

from .routing import Context

#: Below: seconds since 1970; then milli-, micro- and nanoseconds, which can't be mistaken for one
#: another for thousands of years.
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
#: No proxy waits longer than that: the time is made up, or something else.
_LONGEST = 3600.0

_HEADERS = (b"x-request-start", b"x-queue-start")


def parse(stamp: str) -> float | None:
    """Unix time in seconds of what a proxy wrote into X-Request-Start; None for anything else.

    ``t=`` before it is allowed, and of several times that proxies have put
    into one header the first counts. nginx writes seconds, Heroku
    milliseconds, Apache microseconds.
    """
    text = stamp.partition(",")[0].strip().removeprefix("t=")
    try:
        number = float(text)
    except ValueError:
        return None
    for below, unit in _UNITS:
        if number < below:
            return number / unit
    return None  # not a number is below nothing


def stamp_in(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The header of a proxy's time among the headers of an ASGI scope."""
    for name, value in headers:
        if name in _HEADERS:
            return value.decode("latin-1")
    return None


def stamp_of(context: Context) -> str | None:
    """The header of a proxy's time in an environ or a scope."""
    headers = context.get("headers")
    if headers is not None:
        return stamp_in(headers)
    return context.get("HTTP_X_REQUEST_START") or context.get("HTTP_X_QUEUE_START")


class Distribution:
    """A histogram without labels. For any thread."""

    def __init__(self, recorder: Recorder, family: catalogue.Family) -> None:
        cells = recorder.cells("histogram", sample_keys(family, {}))
        self._page, self._sum, self._at = cells.page, cells.at[0], cells.at[1:]
        self._acquire, self._release = recorder.lock.acquire, recorder.lock.release
        self._bounds = family.buckets

    def observe(self, value: float) -> None:
        """Count a value."""
        at = self._at[bisect_left(self._bounds, value)]
        self._acquire()
        try:
            view = self._page.view
            view[at] += 1.0
            view[self._sum] += value
        finally:
            self._release()


class QueueTimes:
    """Records the time that requests have waited since a proxy took them."""

    def __init__(self, recorder: Recorder) -> None:
        self._times = Distribution(recorder, catalogue.HTTP_QUEUE)
        skewed = recorder.cells("counter", sample_keys(catalogue.HTTP_QUEUE_SKEWED, {}))
        self._skewed_page, self._skewed_at = skewed.page, skewed.at[0]
        self._lock = recorder.lock

    def observe(self, context: Context, elapsed: float) -> None:
        """Count a request that was read ``elapsed`` s ago, if a proxy says when it took it."""
        # Most requests say nothing of it, and end here.
        if (
            "HTTP_X_REQUEST_START" not in context
            and "HTTP_X_QUEUE_START" not in context
            and "headers" not in context
        ):
            return
        stamp = stamp_of(context)
        if stamp is None:
            return
        sent = parse(stamp)
        if sent is None:
            return
        waited = time.time() - elapsed - sent
        if waited > _LONGEST or waited < -_LONGEST or math.isnan(waited):
            return
        if waited < 0.0:
            waited = 0.0
            with self._lock:
                self._skewed_page.view[self._skewed_at] += 1.0
        self._times.observe(waited)
