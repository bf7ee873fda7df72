"""Gauges of processes that are gone.

When a slot gets a new owner, its former owner's gauges end. Those whose mode
leaves out the dead (``live...``) and those that are told apart by process
(``all``) are forgotten; what the others would still contribute to a sum, a
minimum, a maximum or the most recent value is kept in one page per mode, so
that it stays bounded however many processes have lived.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from . import layout
from .access import Access

NAME = "archive"

Cell = tuple[float, float]

_KEPT: dict[str, Callable[[Cell, Cell], Cell]] = {
    "gauge_sum": lambda kept, ended: (kept[0] + ended[0], 0.0),
    "gauge_min": min,
    "gauge_max": max,
    "gauge_mostrecent": lambda kept, ended: max(kept, ended, key=lambda cell: cell[1]),
}


def absorb(directory: str, process: str, access: Access) -> None:
    """End the gauges of a slot's former owner. Call with the directory locked. Raises OSError."""
    for name in os.listdir(directory):
        kind, _, rest = name.rpartition("_")
        if rest == f"{process}.db" and kind.startswith("gauge_"):
            path = os.path.join(directory, name)
            if kind in _KEPT:
                with contextlib.suppress(layout.CorruptPage):
                    _fold(directory, kind, path, access)
            os.unlink(path)


def _fold(directory: str, kind: str, ended: str, access: Access) -> None:
    archive = os.path.join(directory, f"{kind}_{NAME}.db")
    kept: dict[bytes, Cell] = {}
    with contextlib.suppress(FileNotFoundError, layout.CorruptPage):
        kept = _read(archive)
    combine = _KEPT[kind]
    for key, cell in _read(ended).items():
        if cell[1] < 0.0:
            continue  # it was removed
        kept[key] = combine(kept[key], cell) if key in kept else cell
    write(archive, kept, access)


def _read(path: str) -> dict[bytes, Cell]:
    with open(path, "rb") as file:
        return layout.read(file.read())


def write(path: str, cells: dict[bytes, Cell], access: Access) -> None:
    """Put a page there in one step. Raises OSError."""
    temporary = f"{path}.new"
    data = layout.image((key, *cell) for key, cell in cells.items())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        access.apply(fd)
        os.posix_fallocate(fd, 0, len(data))
        os.pwrite(fd, data, 0)
    finally:
        os.close(fd)
    os.rename(temporary, path)
