"""The suite that every storage backend has to pass, on pages that are written without it."""

from __future__ import annotations

import os

import pytest

from gunicorn_prometheus_core.testing import Place, StorageTests
from gunicorn_prometheus_core.testing.plugin import host  # noqa: F401  the suite's
from gunicorn_prometheus_storage_mmap import layout
from gunicorn_prometheus_storage_mmap.backend import MmapBackend


class Pages(Place):
    backend = MmapBackend
    name = "mmap"

    def record(self, directory, snapshots):
        left = {name for name in os.listdir(directory) if name.endswith(".db")}
        for one in snapshots:
            name = f"{one.kind}_{one.process.name}.db"
            left.discard(name)
            gauge = one.kind.startswith("gauge")
            entries = [
                (key, one.values[at], one.values[at + 1] if gauge else 0.0)
                for key, at in zip(one.keys, one.at, strict=True)
            ]
            path = os.path.join(directory, name)
            with open(f"{path}.new", "wb") as file:
                file.write(layout.image(entries))
            os.rename(f"{path}.new", path)
        for name in left:
            os.unlink(os.path.join(directory, name))


@pytest.fixture
def place():
    return Pages()


class TestMmap(StorageTests):
    """Everything that the protocol asks of a backend that reads pages."""
