"""The worker on eventlet's greenlets."""

from __future__ import annotations

import gc
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

    @property
    def capacity(self) -> int:
        connections: int = self.cfg.worker_connections
        return connections

    def init_process(self) -> None:
        """Patch the standard library in the worker process, as Gunicorn's worker did before 25."""
        _patch()
        super().init_process()


def _patch() -> None:
    """Patch, but leave our locks alone.

    Eventlet turns the locks that exist into locks of greenlets, and complains
    of those it can't turn, which ours is among. It looks for them among the
    objects that the garbage collector sees, so what is there is frozen first.
    """
    gc.freeze()
    eventlet.monkey_patch()
