"""Answers that failed for a reason of our own: counted, and logged at most once a minute."""

from __future__ import annotations

import time

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, count

_PAUSE_SECONDS = 60.0


class Defects:
    """Used by the event loop's thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._next: dict[str, float] = {}
        count(recorder, catalogue.EXPORTER_ANSWER_ERRORS, 0)

    def note(self, what: str, error: Exception) -> None:
        """This has cost a client its answer."""
        count(self._recorder, catalogue.EXPORTER_ANSWER_ERRORS)
        now = time.monotonic()
        if now >= self._next.get(what, now):
            self._next[what] = now + _PAUSE_SECONDS
            log.error("%s; the exporter goes on, and counts such failures", what, exc_info=error)
