"""Gunicorn's own ASGI worker."""

from __future__ import annotations

from typing import Any

from . import _gunicorn, _parts, asgi
from .mixin import PrometheusMixin
from .requests import Requests

with _parts.needed_for("PrometheusASGIWorker", 'pip install "gunicorn>=24"'):
    from gunicorn.workers.gasgi import ASGIWorker


class PrometheusASGIWorker(PrometheusMixin, ASGIWorker):
    """Gunicorn's ASGI worker with metrics: ``worker_connections`` requests at a time."""

    asgi: Any

    @property
    def capacity(self) -> int:
        connections: int = self.cfg.worker_connections
        return connections

    def record_requests(self, requests: Requests) -> None:
        """The hooks would not do: they don't see sizes, nor WebSockets, nor always the status."""
        self.asgi = asgi.Application(self.asgi, requests, _gunicorn.asgi_client_gone)

    def handle_exit_signal(self) -> None:
        """SIGTERM: end gracefully."""
        self._enter("quitting")
        super().handle_exit_signal()

    def handle_quit_signal(self) -> None:
        """SIGQUIT and SIGINT: end at once."""
        self._enter("quitting")
        super().handle_quit_signal()

    def handle_abort_signal(self) -> None:
        """SIGABRT: the master found the worker silent for longer than its timeout."""
        self._enter("aborting")
        super().handle_abort_signal()
