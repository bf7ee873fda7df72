"""The two ways to scrape a directory of pages that are compared, each for a process of its own."""

from __future__ import annotations

from _measure import cpu_of
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapBackend


class Stock:
    """prometheus_client's MultiProcessCollector and generate_latest."""

    registry: CollectorRegistry

    @classmethod
    def begin(cls, folder: str) -> None:
        cls.registry = CollectorRegistry()
        MultiProcessCollector(cls.registry, path=folder)

    @classmethod
    def text(cls) -> bytes:
        return generate_latest(cls.registry)


class Ours:
    """Our storage and exposition, which keep from one scrape what the next can use."""

    exposition: Exposition

    @classmethod
    def begin(cls, folder: str) -> None:
        cls.exposition = Exposition(MmapBackend().open(Settings(), folder))

    @classmethod
    def text(cls) -> bytes:
        return cls.exposition.render(TEXT_0_0_4)


Side = type[Stock] | type[Ours]


def timed(side: Side) -> float:
    """CPU seconds of a scrape."""
    return cpu_of(side.text)
