"""What is stored of one process and kind: its keys, and a pair of doubles for each of them."""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from gunicorn_prometheus_core.storage import Process, Snapshot

#: A value, and of a gauge the time it was set. As SQL numbers NaN would be lost, and so would -0.0.
Cell = tuple[float, float]

KEPT: Mapping[str, Callable[[Cell, Cell], Cell]] = {
    "gauge_min": min,
    "gauge_max": max,
    "gauge_mostrecent": lambda a, b: max(a, b, key=lambda cell: cell[1]),
}


class Damaged(Exception):
    """What is stored does not fit together."""


def cells_of(snapshot: Snapshot) -> dict[bytes, Cell]:
    """The cells of a snapshot: those that its values have room for."""
    timed = snapshot.kind.startswith("gauge")
    room = bisect_right(snapshot.at, len(snapshot.values) - 1 - timed)
    values = snapshot.values
    return {
        key: (values[at], values[at + 1] if timed else 0.0)
        for key, at in zip(snapshot.keys[:room], snapshot.at[:room], strict=False)
    }


def pack(cells: Mapping[bytes, Cell]) -> bytes:
    """Cells as they are stored; the checksum tells them from what has become of them."""
    names = json.dumps([key.decode("utf-8", "surrogateescape") for key in cells]).encode()
    doubles = array("d", [number for cell in cells.values() for number in cell])
    if sys.byteorder == "big":
        doubles.byteswap()
    packed = len(names).to_bytes(4, "big") + names + doubles.tobytes()
    return zlib.crc32(packed).to_bytes(4, "big") + packed


def unpack(stored: bytes) -> dict[bytes, Cell]:
    """The cells again. Raises Damaged."""
    packed = stored[4:]
    if zlib.crc32(packed).to_bytes(4, "big") != stored[:4]:
        raise Damaged("the checksum is wrong")
    end = 4 + int.from_bytes(packed[:4], "big")
    names = [key.encode("utf-8", "surrogateescape") for key in json.loads(packed[4:end])]
    doubles = array("d", packed[end:])
    if sys.byteorder == "big":
        doubles.byteswap()
    return dict(zip(names, zip(doubles[::2], doubles[1::2], strict=True), strict=True))


def add(kind: str, kept: dict[bytes, Cell], ended: Mapping[bytes, Cell]) -> None:
    """Add what is kept of a process that has ended."""
    combine = KEPT.get(kind, lambda a, b: (a[0] + b[0], 0.0))
    for key, cell in ended.items():
        kept[key] = combine(kept[key], cell) if key in kept else cell


def snapshot(process: Process, kind: str, cells: Mapping[bytes, Cell], instance: str) -> Snapshot:
    """Cells as others see them."""
    values: memoryview[Any] = memoryview(array("d", [x for cell in cells.values() for x in cell]))
    return Snapshot(process, kind, list(cells), range(0, 2 * len(cells), 2), values, instance)
