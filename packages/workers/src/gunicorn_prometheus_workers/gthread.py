"""The threaded worker."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from gunicorn_prometheus_core import catalogue

from .mixin import PrometheusMixin
from .queueing import Distribution
from .requests import Requests


class PrometheusThreadWorker(PrometheusMixin, ThreadWorker):
    """Gunicorn's gthread worker with metrics: ``threads`` requests at a time."""

    _waits: Distribution | None = None

    @property
    def capacity(self) -> int:
        threads: int = self.cfg.threads
        return threads

    def record_requests(self, requests: Requests) -> None:
        """Record also how long they wait for a thread."""
        super().record_requests(requests)
        self._trouble = requests.trouble
        self._waits = requests.distribution(catalogue.WORKER_THREAD_WAIT)

    def enqueue_req(self, conn: Any) -> None:
        """A connection has something to read: a thread is to do that."""
        conn._gunicorn_prometheus_queued = perf_counter()
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """A thread is free for it."""
        if self._waits is not None:
            try:
                self._waits.observe(perf_counter() - conn._gunicorn_prometheus_queued)
            except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
                self._trouble(error)
        return super().handle(conn)
