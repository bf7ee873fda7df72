"""The worker on eventlet's greenlets."""

from __future__ import annotations

from typing import Any

from . import _gunicorn, _parts
from .mixin import PrometheusMixin

with _parts.needed_for("PrometheusEventletWorker", _parts.extra("eventlet")):
    import eventlet

    EventletWorker: Any = _gunicorn.eventlet_worker()


class PrometheusEventletWorker(PrometheusMixin, EventletWorker):
    """Gunicorn's eventlet worker with metrics: ``worker_connections`` requests at a time.

    Gunicorn 26 and later have no eventlet worker; there it is one of our own.
    """

    @classmethod
    def setup(cls) -> None:
        """Patch the standard library before anything else is made, as Gunicorn 25 did.

        Later, eventlet would replace locks that exist with locks of greenlets, ours included.
        """
        eventlet.monkey_patch()
        super().setup()

    @property
    def capacity(self) -> int:
        connections: int = self.cfg.worker_connections
        return connections
