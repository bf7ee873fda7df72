"""Beginning, ending and collecting under the names that earlier versions have documented.

What once read every value from Redis reads what all hosts have published.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_prometheus_core import catalogue, configuration
from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapBackend

from .backend import RedisBackend
from .storage import RedisStorage


class RedisMultiProcessCollector:
    """A collector for prometheus_client's registries: the metrics of all hosts, merged.

    Collecting takes one round trip. While Redis can't be reached it gives what was collected
    last. The arguments are those of earlier versions; the settings say where Redis is.
    """

    def __init__(
        self, registry: Any = None, redis_client: Any = None, redis_key_prefix: str | None = None
    ) -> None:
        effective = replace(configuration.in_force(), scope="all")
        if redis_key_prefix is not None:
            effective = replace(effective, redis_key_prefix=redis_key_prefix)
        # A directory of its own, so that this host is one of those that it reads about.
        self._folder = tempfile.TemporaryDirectory(prefix="gunicorn-prometheus-collector-")
        self._reader = _Reader(RedisBackend().open(effective, self._folder.name))
        self._exposition = Exposition(self._reader)
        self._lock = threading.Lock()
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing: which families there are is known when they are collected."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The families."""
        with self._lock:
            text = self._exposition.render(TEXT_0_0_4).decode()
        return list(map(_as_documented, text_string_to_metric_families(text)))


def _as_documented(metric: Metric) -> Metric:
    """Counters that have always been documented without ``_total`` lose it again."""
    if metric.name in (catalogue.WORKER_FAILED.name, catalogue.WORKER_ERRORS.name):
        metric.type = "unknown"
        metric.samples = [sample._replace(name=metric.name) for sample in metric.samples]
    return metric


class _Reader:
    """What all have published; while Redis can't be reached, what was collected last."""

    instance = ""

    def __init__(self, storage: RedisStorage) -> None:
        self._storage = storage
        self._last: list[Snapshot] = []
        self._complained = False

    def collect(self) -> list[Snapshot]:
        try:
            self._last = list(self._storage.collect())
            self._complained = False
        except StorageUnavailable as error:
            if not self._complained:
                log.error("can't collect the metrics of all hosts: %s", error)
            self._complained = True
        return self._last

    def processes(self) -> list[Process]:
        return list(self._storage.processes())

    def publish(self, snapshots: Iterable[Snapshot]) -> None: ...

    def retire(self, instance: str) -> None: ...

    def close(self) -> None:
        self._storage.close()


class RedisStorageManager:
    """Begins and ends publishing from a process that is not Gunicorn's.

    In Gunicorn's processes there is nothing to begin: its exporter process publishes.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._publishes = False

    def setup(self) -> bool:
        """Publish this process' metrics from now on; whether they are. False if not enabled.

        Starts a thread, unless the process is one of a server that publishes anyhow. Raises
        SettingsError.
        """
        effective = configuration.in_force()
        if effective.storage != "redis":
            return False
        if self._thread is None:
            recorder = MmapBackend().recorder()
            if recorder is not None and recorder.directory:
                return True
            self._start(effective)
        return True

    def _start(self, effective: Settings) -> None:
        backend = MmapBackend()
        directory = backend.prepare(effective, uid=os.geteuid(), gid=os.getegid())
        recorder = backend.activate(directory.path)
        recorder.bind("process")
        storage = RedisBackend().open(effective, directory.path)
        pages = backend.open(effective, directory.path)

        def publish() -> None:
            try:
                storage.publish(pages.collect())
                self._publishes = True
            except StorageUnavailable as error:
                if self._publishes:
                    log.error("can't publish the metrics of this process: %s", error)
                self._publishes = False

        def run() -> None:
            while not self._ended.wait(effective.publish_seconds):
                publish()
            publish()
            if self._publishes:
                storage.retire(storage.instance)
            storage.close()
            pages.close()
            recorder.close()
            directory.discard()

        publish()
        self._thread = threading.Thread(target=run, name="publishing", daemon=True)
        self._thread.start()

    def teardown(self) -> None:
        """Publish the last values, then no more. Waits for that, but not for long."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join(3.0)
            self._thread = None
            self._ended.clear()

    def is_enabled(self) -> bool:
        """Whether the settings say that metrics are kept in Redis."""
        return configuration.in_force().storage == "redis"

    def is_connected(self) -> bool:
        """Whether the last publish from this process reached Redis."""
        return self._publishes

    def get_collector(self) -> RedisMultiProcessCollector:
        """A collector of the metrics of all hosts, to be registered with a registry."""
        return RedisMultiProcessCollector()

    def cleanup_keys(self) -> None:
        """Nothing to do: keys of the dead go by themselves."""


_manager = RedisStorageManager()


def get_redis_storage_manager() -> RedisStorageManager:
    """The manager of this process."""
    return _manager


def setup_redis_metrics() -> bool:
    """Publish this process' metrics from now on; see :meth:`RedisStorageManager.setup`."""
    return _manager.setup()


def teardown_redis_metrics() -> None:
    """End what ``setup_redis_metrics`` began."""
    _manager.teardown()


def is_redis_enabled() -> bool:
    """Whether the settings say that metrics are kept in Redis."""
    return _manager.is_enabled()


def get_redis_collector() -> RedisMultiProcessCollector:
    """A collector of the metrics of all hosts."""
    return _manager.get_collector()


def cleanup_redis_keys() -> None:
    """Nothing to do: keys of the dead go by themselves."""
