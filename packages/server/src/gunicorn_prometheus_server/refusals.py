"""Clients that were refused or given up on: counted, and logged at most once a minute."""

from __future__ import annotations

import time

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, count

#: Reasons, and what is said of each.
REASONS = {
    "handshake": "no TLS connection came about",
    "certificate": "its certificate is not for one of the allowed names",
    "slow_request": "it took too long over a handshake or a request",
    "slow_reader": "it took too long to take an answer",
    "bad_request": "it doesn't speak HTTP",
    "large_request": "its request is too large",
    "unauthorized": "it has no valid user name and password",
    "crowded": "others needed its place",
    "busy": "there are too many requests",
    "timeout": "the scrape took longer than it would have waited",
}
_PAUSE_SECONDS = 60.0


class Refusals:
    """Used by the event loop's thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._next: dict[str, float] = {}
        for reason in REASONS:
            count(recorder, catalogue.EXPORTER_REFUSED, 0, reason=reason)

    def note(self, reason: str, detail: object = "") -> None:
        """A client was refused. What it has sent itself must not be in the detail."""
        count(self._recorder, catalogue.EXPORTER_REFUSED, reason=reason)
        now = time.monotonic()
        if now >= self._next.get(reason, now):
            self._next[reason] = now + _PAUSE_SECONDS
            shown = f" ({detail})" if detail else ""
            log.warning(
                "refused a client of the metrics: %s%s; such are counted, and not logged again "
                "for a minute",
                REASONS[reason],
                shown,
            )
