"""Families that are measured when a scrape asks for them, by whoever has installed a collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from typing import Protocol

from prometheus_client import Metric

from .logs import log
from .storage import Process

_SECONDS = 2.0


class Collector(Protocol):
    """Measures further families at scrape time, in the exporter process.

    Members of the entry-point group ``gunicorn_prometheus.collectors`` are
    called without arguments to get one. A collector that raises or hangs costs
    only its own families; that is logged once and counted.
    """

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """The families, about the processes that have recorded on this host.

        Not called again before it has come back; each time in another thread.
        """


class Collecting:
    """Asks collectors, each in a thread, and waits for all of them only so many seconds.

    One that is not done by then is left out of scrapes until it is, so at most
    one thread of each can hang. Used by one thread at a time; ``errors`` counts
    what was left out, from the beginning.
    """

    def __init__(self, collectors: Mapping[str, Collector], seconds: float = _SECONDS) -> None:
        self._collectors = dict(collectors)
        self._seconds = seconds
        self._hanging: dict[str, Future[list[Metric]]] = {}
        self.errors: dict[str, int] = {}

    def collect(self, processes: Sequence[Process]) -> Iterator[Metric]:
        """The families of all collectors that are done in time."""
        begun: dict[str, Future[list[Metric]]] = {}
        for name, collector in self._collectors.items():
            hanging = self._hanging.get(name)
            if hanging is None or hanging.done():
                begun[name] = _begin(name, collector, processes)
            else:
                self._count(name)
        self._hanging = {name: one for name, one in self._hanging.items() if name not in begun}
        deadline = time.monotonic() + self._seconds
        for name, answer in begun.items():
            yield from self._metrics(name, answer, max(0.0, deadline - time.monotonic()))

    def _metrics(self, name: str, answer: Future[list[Metric]], seconds: float) -> list[Metric]:
        try:
            error = answer.exception(seconds)
        except TookTooLong:
            self._hanging[name] = answer
            if self._count(name):
                limit = f"{self._seconds:g}"
                log.error(
                    "collector %s takes more than %s s; its families are left out until it is done",
                    name,
                    limit,
                )
            return []
        if error is None:
            return answer.result()
        if self._count(name):
            log.error("collector %s failed; its families are left out", name, exc_info=error)
        return []

    def _count(self, name: str) -> bool:
        """Count that it is left out; whether that is the first time."""
        self.errors[name] = self.errors.get(name, 0) + 1
        return self.errors[name] == 1


def _begin(name: str, collector: Collector, processes: Sequence[Process]) -> Future[list[Metric]]:
    answer: Future[list[Metric]] = Future()

    def run() -> None:
        try:
            answer.set_result(list(map(_checked, collector.collect(processes))))
        except BaseException as error:  # noqa: BLE001  whoever waits for the answer logs it
            answer.set_exception(error)

    try:
        # A daemon, because the process must be able to end while it hangs.
        threading.Thread(target=run, name=f"collector {name}", daemon=True).start()
    except RuntimeError as error:  # the system gives no more threads
        answer.set_exception(error)
    return answer


def _checked(metric: Metric) -> Metric:
    """A metric that can be written; what else a collector gives must not fail the whole scrape."""
    if not isinstance(metric, Metric):
        raise TypeError(f"not a Metric: {metric!r}")
    if not isinstance(metric.documentation, str):
        raise TypeError(f"a help that is no string: {metric!r}")
    for sample in metric.samples:
        float(sample.value)
        texts = (sample.name, *sample.labels, *sample.labels.values())
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"a name or labels that are no strings: {sample!r}")
    return metric
