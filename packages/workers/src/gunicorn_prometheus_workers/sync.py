"""The sync worker."""

from __future__ import annotations

from gunicorn.workers.sync import SyncWorker

from .mixin import PrometheusMixin


class PrometheusWorker(PrometheusMixin, SyncWorker):
    """Gunicorn's sync worker with metrics: one request at a time."""
