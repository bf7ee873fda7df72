"""The published exporter's storage in Redis; run by the interpreter that has it.

    python _published_redis.py fill|scrape PORT SETS [PROCESSES]

``fill`` stores the data of :func:`cells` with its own code, pipelined; ``scrape`` writes a scrape
to the standard output, after a line with how long it has taken.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any
from unittest import mock

BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "+Inf")
FAMILY = "app_request_seconds"


def cells(sets: int, process: int) -> list[tuple[str, float]]:
    """Keys and values of one process: a histogram with 12 cells per label set."""
    from prometheus_client.mmap_dict import mmap_key

    found = []
    for number in range(sets):
        names, labels = ["method", "endpoint"], ["GET", f"/api/v1/resource/{number}"]
        key = mmap_key(FAMILY, f"{FAMILY}_sum", names, labels, "Time of requests")
        found.append((key, float(number + process)))
        for bound in BOUNDS:
            bucket = [*labels, bound]
            key = mmap_key(FAMILY, f"{FAMILY}_bucket", [*names, "le"], bucket, "Time of requests")
            found.append((key, float(number % 7 + process)))
    return found


class Pipelined:
    """A client whose commands are sent together."""

    def __init__(self, redis: Any) -> None:
        self._redis, self._pipe = redis, redis.pipeline(transaction=False)
        self.time = lambda: (int(time.time()), 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def flush(self) -> None:
        self._pipe.execute()


def fill(port: int, sets: int, processes: int) -> None:
    import redis
    from gunicorn_prometheus_exporter.backend.core.client import RedisStorageDict

    with redis.Redis(port=port) as client:
        for process in range(processes):
            piped = Pipelined(client)
            stored = RedisStorageDict(piped, "gunicorn")
            with mock.patch("os.getpid", lambda process=process: 1000 + process):
                for key, value in cells(sets, process):
                    stored.write_value(key, value, 0.0, "histogram")
            piped.flush()


def scrape(port: int) -> None:
    import redis
    from gunicorn_prometheus_exporter.backend.core.collector import RedisMultiProcessCollector
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    with redis.Redis(port=port) as client:
        RedisMultiProcessCollector(registry, client, "gunicorn")
        start = time.perf_counter()
        text = generate_latest(registry)
        print(time.perf_counter() - start)
        sys.stdout.write(text.decode())


if __name__ == "__main__":
    for name in ("PROMETHEUS_METRICS_PORT", "PROMETHEUS_BIND_ADDRESS", "GUNICORN_WORKERS"):
        os.environ.setdefault(name, {"PROMETHEUS_BIND_ADDRESS": "127.0.0.1"}.get(name, "9091"))
    command, *numbers = sys.argv[1:]
    if command == "fill":
        fill(*map(int, numbers))
    else:
        scrape(int(numbers[0]))
