"""The workers on gevent's greenlets."""

from __future__ import annotations

from typing import Any

from . import _parts, pywsgi
from .mixin import PrometheusMixin
from .requests import Requests

with _parts.needed_for("PrometheusGeventWorker", _parts.extra("gevent")):
    from gunicorn.workers.ggevent import GeventPyWSGIWorker, GeventWorker


class PrometheusGeventWorker(PrometheusMixin, GeventWorker):
    """Gunicorn's gevent worker with metrics: ``worker_connections`` requests at a time."""

    @property
    def capacity(self) -> int:
        connections: int = self.cfg.worker_connections
        return connections


class PrometheusGeventPyWSGIWorker(PrometheusGeventWorker, GeventPyWSGIWorker):
    """Gunicorn's worker on gevent's own WSGI server, with metrics."""

    def record_requests(self, requests: Requests) -> None:
        """gevent's server calls none of Gunicorn's hooks."""
        self.wsgi_handler: Any = pywsgi.recording(self.wsgi_handler, requests)
