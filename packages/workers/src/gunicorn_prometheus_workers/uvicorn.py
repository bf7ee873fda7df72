"""The worker of the package uvicorn-worker."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import Any

from . import _parts, asgi
from .mixin import PrometheusMixin
from .requests import Requests

with _parts.needed_for("PrometheusUvicornWorker", _parts.extra("uvicorn")):
    from gunicorn.arbiter import Arbiter
    from uvicorn import Server
    from uvicorn_worker import UvicornWorker

_TICK_SECONDS = 1.0


class PrometheusUvicornWorker(PrometheusMixin, UvicornWorker):
    """Uvicorn's worker with metrics.

    Uvicorn knows no ``worker_connections``; it takes as many requests as come,
    unless a subclass sets ``limit_concurrency`` in its ``CONFIG_KWARGS``.
    """

    _requests: Requests | None = None

    @property
    def capacity(self) -> int | None:
        limit: int | None = self.config.limit_concurrency
        return limit

    def record_requests(self, requests: Requests) -> None:
        """Uvicorn makes its application only when it serves."""
        self._requests = requests

    def init_signals(self) -> None:
        """Let the process end by itself when Uvicorn has handled a signal.

        Uvicorn raises the signal again after it has shut down, which would
        kill the process before ``worker_exit`` and our own end.
        """
        super().init_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.config.load()
        if self._requests is not None:
            self.config.loaded_app = asgi.Application(
                self.config.loaded_app, self._requests, _client_gone
            )
        server = _Server(self)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


class _Server(Server):
    def __init__(self, worker: PrometheusUvicornWorker) -> None:
        super().__init__(worker.config)
        self._worker = worker
        self._next_tick = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._worker._enter("quitting")
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        # Gunicorn's workers count their requests in nr.
        self._worker.nr = self.server_state.total_requests
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + _TICK_SECONDS
            self._worker.tick()
        return await super().on_tick(counter)


def _exit(sig: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _client_gone(receive: Any, send: Any) -> bool:
    return bool(getattr(getattr(send, "__self__", None), "disconnected", False))
