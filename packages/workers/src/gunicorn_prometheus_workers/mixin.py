"""What makes a Gunicorn worker record."""

from __future__ import annotations

from typing import Any

from .lifecycle import Lifecycle, prepare_master


class PrometheusMixin:
    """Put before a Gunicorn worker class: ``class MyWorker(PrometheusMixin, SyncWorker)``.

    Requests are recorded at ``pre_request`` and ``post_request``, which every
    worker calls; a subclass says only what differs, its ``capacity``. Importing
    or subclassing it changes nothing; Gunicorn's call of ``setup`` does, which
    happens when a server starts with the class as its ``worker_class``.
    """

    _lifecycle: Lifecycle | None = None

    @classmethod
    def setup(cls) -> None:
        """Called by Gunicorn in the master whenever it looks its worker class up."""
        inherited = getattr(super(), "setup", None)
        if inherited is not None:
            inherited()
        prepare_master()

    @property
    def capacity(self) -> int:
        """How many requests the worker can handle at the same time."""
        return 1

    def load_wsgi(self) -> None:
        """The first thing a worker process does as the user it runs as."""
        self._lifecycle = Lifecycle.begin(self)
        super().load_wsgi()  # type: ignore[misc]  # the worker's

    def init_process(self) -> None:
        """The life of a worker process, until it ends by itself."""
        try:
            super().init_process()  # type: ignore[misc]  # the worker's
        finally:
            if self._lifecycle is not None:
                self._lifecycle.end()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """An error that the worker answers."""
        if self._lifecycle is not None:
            self._lifecycle.requests.error(req, exc)
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

    def _enter(self, state: str) -> None:
        if self._lifecycle is not None:
            self._lifecycle.signalled = True
            self._lifecycle.wanted_state = state
