"""The suite that every storage backend has to pass, on pages that are written without it."""

from __future__ import annotations

import contextlib
import os

import pytest

from gunicorn_prometheus_core.storage import REMARK_KINDS
from gunicorn_prometheus_core.testing import Place, StorageTests
from gunicorn_prometheus_core.testing.plugin import host  # noqa: F401  the suite's
from gunicorn_prometheus_storage_mmap import layout
from gunicorn_prometheus_storage_mmap.access import Access
from gunicorn_prometheus_storage_mmap.backend import MmapBackend
from gunicorn_prometheus_storage_mmap.remarks import SUFFIX, Remarks


class Pages(Place):
    backend = MmapBackend
    name = "mmap"

    def record(self, directory, snapshots):
        left = set(os.listdir(directory))
        for one in snapshots:
            if one.kind in REMARK_KINDS:
                name = f"{one.kind}_{one.process.name}{SUFFIX}"
                said = Remarks(one.kind)
                for key, remark in one.remarks().items():
                    said.put(key, remark)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(directory, name))  # a process adds to what is there
                said.move_to(os.path.join(directory, name), Access())
                said.forget()
            else:
                name = layout.file_name(one.kind, one.process.name)
                path = os.path.join(directory, name)
                entries = [
                    (key, one.values[at], one.values[at + 1])
                    for key, at in zip(one.keys, one.at, strict=True)
                ]
                image = layout.image(entries)
                mark = layout.header(len(image), int(bool(one.removed)))
                with open(f"{path}.new", "wb") as file:
                    file.write(mark + image[len(mark) :])
                os.rename(f"{path}.new", path)
            left.discard(name)
        for name in left:
            os.unlink(os.path.join(directory, name))


@pytest.fixture
def place():
    return Pages()


class TestMmap(StorageTests):
    """Everything that the protocol asks of a backend that reads pages."""
