"""A storage that hosts share, beside the pages of this host.

All talk with the backend happens in one thread. It publishes what the pages
hold, and collects when a scrape asks for that. A scrape waits for it only so
long, and goes without when it has failed just before: this host's values are
in its pages, and those of the others are what was collected last. So no
counter goes down because a storage does.
"""

from __future__ import annotations

import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import replace

from prometheus_client import Metric

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.checking import Checking, Nonsense
from gunicorn_prometheus_core.errors import MissingPart, SettingsError, StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Recorder, count
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import (
    RETIRES,
    Backend,
    Process,
    Snapshot,
    Storage,
    for_backend,
)

from .measured import Measured

#: Pauses between attempts while the storage is down, in publish intervals.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_LAST_SECONDS = 3.0
_MOST_REASONS = 5


class Shared:
    """What scrapes see: this host's pages, and what the backend has of others.

    The backend opens its storage in that thread, too, and again until it can. ``collect`` and
    ``processes`` are for one thread at a time, as those of any
    storage; ``start`` and ``stop`` for the thread that has made it.
    """

    def __init__(
        self,
        pages: Storage,
        backend: Backend,
        settings: Settings,
        directory: str,
        recorder: Recorder,
        parent: int | None = None,
        measured: Measured | None = None,
    ) -> None:
        self._pages, self._backend = pages, backend
        self._measured = measured
        self._settings, self._directory = settings, directory
        #: None until the backend could open it.
        self._storage: Storage | None = None
        self._instance = ""
        self._checking = Checking()
        self._sees_others = settings.scope == "all"
        self._interval = settings.publish_seconds
        self._patience = settings.storage_timeout_seconds
        self._recorder = recorder
        self._parent = parent
        self._reading = threading.Lock()
        self._requests: queue.SimpleQueue[Future[bool] | None] = queue.SimpleQueue()
        self._request: Future[bool] | None = None
        self._thread = threading.Thread(target=self._run, name="publishing", daemon=True)
        #: What was collected last, and what of that was shown last.
        self._others: Sequence[Snapshot] = ()
        self._shown: Sequence[Snapshot] = ()
        self._published_at = 0.0
        self._publishes = False
        self._collects = False
        #: Whether it gave what it was asked for last, if it was.
        self._gives = True
        #: Publishes that have failed since the last one that did not.
        self._failures = 0
        #: Why it has not been up since it was last.
        self._reasons: set[str] = set()
        for family in (catalogue.EXPORTER_PUBLISH_ERRORS, catalogue.EXPORTER_COLLECT_ERRORS):
            count(self._recorder, family, 0)

    @property
    def instance(self) -> str:
        """Name of this host's instance, "" until that is known and if it is alone in view."""
        return self._instance if self._sees_others else ""

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def stop(self) -> None:
        """Publish the last values and end. Waits for that, but not for long."""
        self._requests.put(None)
        self._thread.join(_LAST_SECONDS)

    # What scrapes ask for

    def collect(self) -> Sequence[Snapshot]:
        """This host's snapshots as they are now, and others' as they are known."""
        self._collects = not self._failures and self._ask()
        others = self._others
        if not self.is_up:
            # Nobody knows now who of them lives.
            others = [replace(one, process=replace(one.process, alive=False)) for one in others]
        self._shown = others
        instance = self.instance
        return [*(replace(own, instance=instance) for own in self._own()), *others]

    def processes(self) -> Sequence[Process]:
        """This host's processes, and those of others."""
        others = {(one.instance, one.process.name): one.process for one in self._shown}
        return [*self._pages.processes(), *others.values()]

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Nothing to do: that happens by itself."""

    def retire(self, instance: str) -> None:
        """Nothing to do: that happens by itself."""

    def close(self) -> None:
        """Let go of the pages."""
        self._pages.close()

    @property
    def is_up(self) -> bool:
        """Whether the backend took and gave what it was asked last."""
        return self._publishes and self._collects

    @property
    def others(self) -> Sequence[Snapshot]:
        """Others' snapshots, as they were among those that ``collect`` gave last."""
        return self._shown

    @property
    def published_at(self) -> float:
        """Unix time of the last successful publish; 0.0 before the first one."""
        return self._published_at

    def _ask(self) -> bool:
        """Have it collected, and wait for that; False when it failed or takes too long."""
        if self._request is None or self._request.done():
            self._request = Future()
            self._requests.put(self._request)
            try:
                return self._request.result(self._patience)
            except TookTooLong:
                self._complain(f"no answer within {self._patience:g} s")
        # It is still at what a scrape before has asked for, and this one has not to wait as well.
        count(self._recorder, catalogue.EXPORTER_COLLECT_ERRORS)
        return False

    def _own(self) -> Sequence[Snapshot]:
        with self._reading:
            return self._pages.collect()

    # The thread

    def _everything(self) -> Iterable[Snapshot]:
        """What this host's processes have recorded, and what was measured of them."""
        yield from self._own()
        if self._measured is not None:
            yield from self._measured.snapshots(self._pages.processes())

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + self._publish()
            try:
                request = self._requests.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            if request is None:
                break
            collected = self._attempt(self._collect)
            self._gives = collected
            if not collected:
                count(self._recorder, catalogue.EXPORTER_COLLECT_ERRORS)
            request.set_result(collected)
        self._publish()
        if self._publishes and RETIRES in self._backend.capabilities and not self._is_recorded():
            self._attempt(lambda storage: storage.retire(storage.instance))
        self._attempt(lambda storage: storage.close())

    def _collect(self, storage: Storage) -> None:
        if self._sees_others:
            self._others = self._checking.snapshots(storage.collect())

    def _publish(self) -> float:
        """Publish once; gives the seconds until the next time."""
        can = self._backend.capabilities
        if self._attempt(lambda storage: storage.publish(for_backend(self._everything(), can))):
            if self._failures:
                log.info("publishing works again")
            self._failures, self._publishes = 0, True
            if self._gives:
                self._reasons.clear()
            self._published_at = time.time()
            return self._interval
        self._publishes = False
        count(self._recorder, catalogue.EXPORTER_PUBLISH_ERRORS)
        pause = min(_LONGEST_PAUSE, math.ldexp(_FIRST_PAUSE, min(self._failures, 20)))
        self._failures += 1
        # Not all hosts at the same moment.
        return self._interval * pause * random.uniform(0.5, 1.0)

    def _attempt(self, call: Callable[[Storage], None]) -> bool:
        """Whether the backend could do it. Whatever it raises must not end the thread."""
        name = self._settings.storage
        try:
            if self._storage is None:
                self._storage = self._backend.open(self._settings, self._directory)
            call(self._storage)
            self._instance = str(self._storage.instance)
        except (StorageUnavailable, SettingsError, MissingPart) as error:
            self._complain(str(error))
        except Nonsense as error:
            if "nonsense" not in self._reasons:
                log.error("the storage backend %s is at fault: %s; it is left out", name, error)
            self._reasons.add("nonsense")
        except Exception:
            if "defect" not in self._reasons:
                log.exception(
                    "the storage backend %s failed; further failures are only counted", name
                )
            self._reasons.add("defect")
        else:
            return True
        return False

    def _complain(self, reason: str) -> None:
        """Log why it is not up; each reason once until it is again, and not too many."""
        if reason not in self._reasons and len(self._reasons) < _MOST_REASONS:
            self._reasons.add(reason)
            log.error(
                "the storage that hosts share is not available: %s; it is tried again until it is",
                reason,
            )

    def _is_recorded(self) -> bool:
        """Whether anybody but us and the master that ends us records into the pages."""
        own = (os.getpid(), self._parent)
        return any(one.alive and one.pid not in own for one in self._pages.processes())


class Health:
    """The families about the storage; a collector."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """Whether it is up, and when it was published to."""
        for family, value in (
            (catalogue.EXPORTER_STORAGE_UP, float(self._shared.is_up)),
            (catalogue.EXPORTER_PUBLISHED, self._shared.published_at),
        ):
            metric = Metric(family.name, family.help, family.type)
            metric.add_sample(family.name, {}, value)
            yield metric
