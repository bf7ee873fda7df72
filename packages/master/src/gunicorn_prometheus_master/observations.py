"""What the master sees, in its pages: signals, exits of workers, backlogs, dirty workers."""

from __future__ import annotations

import time
from typing import Any

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.catalogue import Family
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, count, sample_keys

from . import backlog, sampling

_SIGNALS = ("hup", "usr1", "usr2", "ttin", "ttou", "chld", "int")
_COUNTED_FROM_ZERO = (
    catalogue.EXPORTER_RESTARTS,
    catalogue.EXPORTER_BIND_FAILURES,
    catalogue.EXPORTER_SETTINGS_ERRORS,
    catalogue.EXPORTER_RECORDING_ERRORS,
)
_BACKLOG = (catalogue.LISTENER_BACKLOG, catalogue.LISTENER_BACKLOG_LIMIT)
_DIRTY_SECONDS = 5.0


class Observations:
    """Used by the master's main loop; to ``signals`` and ``exits`` a signal handler may append."""

    def __init__(self, recorder: Recorder) -> None:
        #: Signals that have come since the last recording.
        self.signals: list[str] = []
        #: Of workers that have ended since then, the number and the cause.
        self.exits: list[tuple[str, str]] = []
        self._recorder = recorder
        self._listeners: set[str] = set()
        self._next_look = 0.0
        self._complained = False
        for reason in _SIGNALS:
            count(recorder, catalogue.MASTER_SIGNALS, 0, reason=reason)
        for family in _COUNTED_FROM_ZERO:
            count(recorder, family, 0)

    def record(self, arbiter: Any) -> None:
        """Record what was noted, and what can be seen of this Arbiter now. Never raises."""
        try:
            self._record_notes()
            self._set(catalogue.WORKERS_TARGET, arbiter.num_workers)
            self._record_backlogs(arbiter.LISTENERS)
            # Gunicorn before 25 has no dirty workers.
            self._record_dirty_workers(getattr(arbiter, "dirty_arbiter_pid", 0))
            self._recorder.tick()
        except Exception as error:  # noqa: BLE001  the border to the master; counted and logged
            self.trouble(error)

    def trouble(self, error: Exception) -> None:
        """Count a failure of the recording; log the first, as the main loop comes every second."""
        count(self._recorder, catalogue.EXPORTER_RECORDING_ERRORS)
        if not self._complained:
            self._complained = True
            log.error("metrics of the master could not be recorded", exc_info=error)

    def _set(self, family: Family, value: float, **labels: str) -> None:
        cells = self._recorder.cells(family.kind, sample_keys(family, labels))
        with self._recorder.lock:
            cells.page.view[cells.at[0]] = value

    def _record_notes(self) -> None:
        now = time.time()
        while self.signals:
            reason = self.signals.pop()
            count(self._recorder, catalogue.MASTER_SIGNALS, reason=reason)
            self._set(catalogue.MASTER_SIGNAL_TIME, now, reason=reason)
        while self.exits:
            number, cause = self.exits.pop()
            count(self._recorder, catalogue.WORKER_EXITS, worker_id=number, cause=cause)
            self._set(catalogue.WORKER_EXIT_TIME, now, worker_id=number, cause=cause)

    def _record_backlogs(self, listeners: Any) -> None:
        now = dict(backlog.measure(listeners))
        # Listeners that a reload has closed have nobody waiting.
        self._listeners |= now.keys()
        for name in self._listeners:
            for family, value in zip(_BACKLOG, now.get(name, (0, 0)), strict=True):
                self._set(family, value, listener=name)

    def _record_dirty_workers(self, arbiter: int) -> None:
        # To look for them takes some milliseconds.
        if arbiter and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _DIRTY_SECONDS
            self._set(catalogue.DIRTY_WORKERS, sampling.children(arbiter))
