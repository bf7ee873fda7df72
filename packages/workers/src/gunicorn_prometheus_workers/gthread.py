"""The threaded worker."""

from __future__ import annotations

from gunicorn.workers.gthread import ThreadWorker

from .mixin import PrometheusMixin


class PrometheusThreadWorker(PrometheusMixin, ThreadWorker):
    """Gunicorn's gthread worker with metrics: ``threads`` requests at a time."""

    @property
    def capacity(self) -> int:
        threads: int = self.cfg.threads
        return threads
