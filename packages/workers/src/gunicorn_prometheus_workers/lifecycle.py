"""What a worker records of itself: capacity, state, heartbeat, and how it ended."""

from __future__ import annotations

import functools
import gc
import os
import time
from collections.abc import Callable
from typing import Any

from gunicorn_prometheus_core import catalogue, plugins
from gunicorn_prometheus_core.configuration import in_force
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, sample_keys

from .requests import Requests

_TICK_SECONDS = 1.0


def prepare_master(instrument: Callable[[Any], Any] | None = None) -> None:
    """In a server that is starting, before it loads an application: what is installed takes effect.

    prometheus_client records through us from here on, so that metrics of a
    preloaded application do; the master's part will take its place, and use
    the worker class that ``instrument`` gives in place of the configured one.
    """
    if plugins.find(plugins.STORAGE, "mmap") is not None:
        plugins.load(plugins.STORAGE, "mmap")().activate()
    if plugins.find(plugins.MASTER, "default") is not None:
        plugins.load(plugins.MASTER, "default")(instrument)
    _freeze_what_is_loaded()


@functools.cache
def _freeze_what_is_loaded() -> None:
    """Once: what is loaded by now outlives every worker, so that none has to look through it."""
    gc.freeze()


def _recorder() -> Recorder | None:
    """The recorder that the master has activated, or one for the configured directory."""
    pages = plugins.load(plugins.STORAGE, "mmap")()
    recorder: Recorder | None = pages.recorder()
    if recorder is None or not recorder.directory:
        directory = in_force().multiproc_dir
        if directory is None:
            log.warning(
                "nothing is recorded: set PROMETHEUS_MULTIPROC_DIR, "
                "or pip install gunicorn-prometheus-master, which chooses a directory"
            )
            return None
        os.makedirs(directory, mode=0o750, exist_ok=True)
        recorder = pages.activate(os.path.abspath(directory))
    return recorder


class Lifecycle:
    """Records the life of one worker process, from its own point of view."""

    def __init__(self, worker: Any, recorder: Recorder) -> None:
        self._worker = worker
        self._recorder = recorder
        #: What the monotonic clock will say when there is something to record again.
        self._next_tick = 0.0
        self._state = ""
        self._wanted_state = "running"
        self._complained = False
        #: Whether a signal has asked the worker to end.
        self.signalled = False
        recorder.bind("worker")
        # Where the application serves metrics itself, prometheus_client finds them by this.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", recorder.directory)
        self.requests = Requests(recorder, in_force())
        if worker.capacity is not None:
            self._set(catalogue.WORKER_CAPACITY, {}, worker.capacity)
        if worker.cfg.timeout:
            self._set(catalogue.WORKER_TIMEOUT, {}, worker.cfg.timeout)
        self.tick()
        self._follow_heartbeat()

    @classmethod
    def begin(cls, worker: Any) -> Lifecycle | None:
        """Begin to record in a worker process; None when that fails, which is logged."""
        try:
            recorder = _recorder()
            return cls(worker, recorder) if recorder is not None else None
        except Exception:
            log.exception("this worker records nothing")
            return None

    def _follow_heartbeat(self) -> None:
        """Be called with the worker's heartbeat, which some workers do with every request."""
        notify, monotonic = self._worker.notify, time.monotonic

        def notify_and_tick() -> None:
            notify()
            if monotonic() >= self._next_tick:
                self.tick()

        self._worker.notify = notify_and_tick

    def enter(self, state: str) -> None:
        """A signal asks for another state. Its handler must not record: the next heartbeat does."""
        self.signalled = True
        self._wanted_state = state
        self._next_tick = 0.0

    def tick(self) -> None:
        """Record what has changed, and mend what can be mended."""
        self._next_tick = time.monotonic() + _TICK_SECONDS
        try:
            self._recorder.tick()
            self._set(catalogue.WORKER_HEARTBEAT, {}, time.time())
            if self._wanted_state != self._state:
                self._state = self._wanted_state
                self._set(catalogue.WORKER_STATE, {"state": self._state}, time.time())
        except Exception as error:
            if not self._complained:
                self._complained = True
                log.error("a worker's heartbeat could not be recorded", exc_info=error)

    def booted(self, seconds: float) -> None:
        """The worker is ready, so many seconds after its process began."""
        try:
            self._set(catalogue.WORKER_BOOT, {}, seconds)
        except Exception:
            log.exception("a worker's start could not be recorded")

    def end(self) -> None:
        """The process is about to end, by itself."""
        try:
            worker = self._worker
            if worker.nr >= worker.max_requests:
                self._recorder.note(exit="max_requests")
            elif worker.reloader is not None and not self.signalled:
                self._recorder.note(exit="reload")
            self._wanted_state = "stopped"
            self.tick()
        except Exception:
            log.exception("a worker's end could not be recorded")

    def _set(self, family: catalogue.Family, labels: dict[str, str], value: float) -> None:
        cells = self._recorder.cells("gauge_liveall", sample_keys(family, labels))
        with self._recorder.lock:
            cells.page.view[cells.at[0]] = value
