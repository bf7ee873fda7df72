"""What makes a Gunicorn worker record."""

from __future__ import annotations

import time
from typing import Any

from gunicorn_prometheus_core.logs import log

from . import hooks
from .lifecycle import Lifecycle, prepare_master
from .requests import Requests


class PrometheusMixin:
    """Put before a Gunicorn worker class: ``class MyWorker(PrometheusMixin, SyncWorker)``.

    A subclass says only what differs: its ``capacity``, and in
    ``record_requests`` how it sees its requests if it doesn't call Gunicorn's
    ``pre_request`` and ``post_request``. Importing or subclassing it changes
    nothing; Gunicorn's call of ``setup`` does, which happens when a server
    starts with the class as its ``worker_class``.
    """

    _lifecycle: Lifecycle | None = None
    #: What the monotonic clock said as the process began.
    _began = 0.0

    @classmethod
    def setup(cls) -> None:
        """Called by Gunicorn in the master whenever it looks its worker class up."""
        inherited = getattr(super(), "setup", None)
        if inherited is not None:
            inherited()
        prepare_master()

    @property
    def capacity(self) -> int | None:
        """How many requests the worker can handle at the same time; None if nothing limits it."""
        return 1

    def record_requests(self, requests: Requests) -> None:
        """See to it that requests are recorded; called when the application has been loaded."""
        hooks.install(self, requests)

    def load_wsgi(self) -> None:
        """The first thing a worker process does as the user it runs as."""
        self._lifecycle = Lifecycle.begin(self)
        super().load_wsgi()  # type: ignore[misc]  # the worker's
        if self._lifecycle is not None:
            try:
                self._lifecycle.requests.application_loaded()
                self.record_requests(self._lifecycle.requests)
            except Exception:
                log.exception("this worker's requests are not recorded")
            self._lifecycle.booted(time.monotonic() - self._began)

    def init_process(self) -> None:
        """The life of a worker process, until it ends by itself."""
        self._began = time.monotonic()
        try:
            super().init_process()  # type: ignore[misc]  # the worker's
        finally:
            if self._lifecycle is not None:
                self._lifecycle.end()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """An error that the worker answers."""
        if self._lifecycle is not None:
            method, path = getattr(req, "method", None), getattr(req, "path", None)
            environ = getattr(req, "_gunicorn_prometheus_environ", None)
            self._lifecycle.requests.answered(method, path, 500, exc, environ)
        super().handle_error(req, client, addr, exc)  # type: ignore[misc]  # the worker's

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: end gracefully. Only notes it: a signal handler must not record."""
        self._enter("quitting")
        super().handle_exit(sig, frame)  # type: ignore[misc]  # the worker's

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT and SIGINT: end at once."""
        self._enter("quitting")
        super().handle_quit(sig, frame)  # type: ignore[misc]  # the worker's

    def handle_abort(self, sig: int, frame: Any) -> None:
        """SIGABRT: the master found the worker silent for longer than its timeout."""
        self._enter("aborting")
        super().handle_abort(sig, frame)  # type: ignore[misc]  # the worker's

    def tick(self) -> None:
        """Record what has changed, for a worker whose heartbeat is not once a second."""
        if self._lifecycle is not None:
            self._lifecycle.tick()

    def _enter(self, state: str) -> None:
        """Note a new state after a signal; it is recorded with the next heartbeat."""
        if self._lifecycle is not None:
            self._lifecycle.enter(state)
