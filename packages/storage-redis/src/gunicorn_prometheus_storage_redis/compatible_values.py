"""Values under the names that earlier versions have documented.

What once wrote to Redis writes into the pages of this process, which are
published with all the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from gunicorn_prometheus_storage_mmap.backend import MmapBackend
from gunicorn_prometheus_storage_mmap.values import value_class


class StorageDictProtocol(Protocol):
    """A dictionary of values by key, as prometheus_client's ``MmapedDict`` is one."""

    def read_value(
        self, key: str, metric_type: str = "counter", multiprocess_mode: str = ""
    ) -> tuple[float, float]:
        """Value and time it was set (Unix time in seconds; 0.0 if that isn't kept)."""

    def write_value(
        self,
        key: str,
        value: float,
        timestamp: float,
        metric_type: str = "counter",
        multiprocess_mode: str = "",
    ) -> None:
        """Set value and time."""


class RedisStorageDict:
    """The values of this process by key. What is written is published with its pages.

    ``redis_client`` and ``key_prefix`` are not used: the settings say where Redis is. May be used
    from any thread.
    """

    def __init__(self, redis_client: Any = None, key_prefix: str | None = None) -> None:
        self._recorder = MmapBackend().recorder() or MmapBackend().activate()
        self._kinds: dict[str, str] = {}

    def read_value(
        self, key: str, metric_type: str = "counter", multiprocess_mode: str = ""
    ) -> tuple[float, float]:
        """Value and time it was set, which is kept of gauges."""
        kind = self._kind(key, metric_type, multiprocess_mode)
        cells = self._recorder.cells(kind, [key.encode()])
        with self._recorder.lock:
            view, at = cells.page.view, cells.at[0]
            return view[at], view[at + 1] if _has_time(kind) else 0.0

    def write_value(
        self,
        key: str,
        value: float,
        timestamp: float,
        metric_type: str = "counter",
        multiprocess_mode: str = "",
    ) -> None:
        """Set the value, and the time of a gauge."""
        kind = self._kind(key, metric_type, multiprocess_mode)
        cells = self._recorder.cells(kind, [key.encode()])
        with self._recorder.lock:
            view, at = cells.page.view, cells.at[0]
            view[at] = value
            if _has_time(kind):
                view[at + 1] = timestamp

    def read_all_values(self) -> Iterator[tuple[str, float, float]]:
        """Key, value and time of everything this object was asked for."""
        for key in list(self._kinds):
            yield key, *self.read_value(key)

    def close(self) -> None:
        """Nothing to do."""

    def _kind(self, key: str, metric_type: str, mode: str) -> str:
        kind = f"gauge_{mode or 'all'}" if metric_type == "gauge" else metric_type
        return self._kinds.setdefault(key, kind)


def _has_time(kind: str) -> bool:
    # Beside what is summed up stands when it was removed.
    return kind.startswith("gauge")


#: A name that was documented beside the one above.
RedisDict = RedisStorageDict


class RedisValue:
    """One number of a metric, as ``prometheus_client.values.ValueClass`` makes them."""

    _multiprocess = True

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Iterable[str],
        labelvalues: Iterable[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        labels = dict(zip(labelnames, labelvalues, strict=False))
        self._key = json.dumps([metric_name, name, labels, help_text], sort_keys=True)
        self._kind = typ, multiprocess_mode
        recorder = MmapBackend().recorder() or MmapBackend().activate()
        self._value = value_class(recorder)(
            typ, metric_name, name, list(labels), list(labels.values()), help_text,
            multiprocess_mode or "all",
        )  # fmt: skip
        self.inc, self.set, self.get = self._value.inc, self._value.set, self._value.get
        self.set_exemplar = self._value.set_exemplar
        self.get_exemplar = self._value.get_exemplar

    def get_timestamp(self) -> float:
        """When it was set, Unix time in seconds; 0.0 if that isn't kept."""
        return RedisStorageDict().read_value(self._key, *self._kind)[1]


class RedisStorageClient:
    """What gives out ``ValueClass`` to record with. ``redis_client`` is kept for the caller."""

    def __init__(self, redis_client: Any = None, key_prefix: str | None = None) -> None:
        self._client = redis_client

    def get_value_class(self) -> type[RedisValue]:
        """The class of values."""
        return RedisValue

    def get_client(self) -> Any:
        """The client that was given."""
        return self._client

    def cleanup_process_keys(self, pid: int) -> None:
        """Nothing to do: a process that ends leaves no keys of its own."""
