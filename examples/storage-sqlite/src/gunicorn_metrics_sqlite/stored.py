"""What is stored of one process and kind: its keys, and a pair of doubles for each of them."""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from gunicorn_prometheus_core.gathering import sum_and_rest
from gunicorn_prometheus_core.storage import REMARK_KINDS, Process, Remark, Snapshot

#: A value and its time: of a gauge when it was set; negative since when the series is removed. As
#: SQL numbers NaN would be lost, and so would -0.0.
Cell = tuple[float, float]

KEPT: Mapping[str, Callable[[list[Cell]], Cell]] = {
    "gauge_min": min,
    "gauge_max": max,
    "gauge_mostrecent": lambda cells: max(cells, key=lambda cell: cell[1]),
}


class Damaged(Exception):
    """What is stored does not fit together."""


def cells_of(snapshot: Snapshot) -> dict[bytes, Cell]:
    """The cells of a snapshot: those that its values have room for."""
    timed = snapshot.kind.startswith("gauge") or bool(snapshot.removed)
    room = bisect_right(snapshot.at, len(snapshot.values) - 1 - timed)
    values = snapshot.values
    return {
        key: (values[at], values[at + 1] if timed else 0.0)
        for key, at in zip(snapshot.keys[:room], snapshot.at[:room], strict=False)
    }


def packed(snapshot: Snapshot) -> bytes | None:
    """What is to be stored of a snapshot; None when there is nothing in it."""
    if snapshot.kind in REMARK_KINDS:
        remarks = snapshot.remarks()
        return pack_remarks(remarks) if remarks else None
    cells = cells_of(snapshot)
    return pack(list(cells.items())) if cells else None


def pack(cells: list[tuple[bytes, Cell]]) -> bytes:
    """Cells as they are stored."""
    names = json.dumps([key.decode("utf-8", "surrogateescape") for key, _ in cells]).encode()
    doubles = array("d", [number for _, cell in cells for number in cell])
    if sys.byteorder == "big":
        doubles.byteswap()
    return _seal(len(names).to_bytes(4, "big") + names + doubles.tobytes())


def unpack(stored: bytes) -> list[tuple[bytes, Cell]]:
    """The cells again. Raises Damaged."""
    packed = _open(stored)
    end = 4 + int.from_bytes(packed[:4], "big")
    names = [key.encode("utf-8", "surrogateescape") for key in json.loads(packed[4:end])]
    doubles = array("d", packed[end:])
    if sys.byteorder == "big":
        doubles.byteswap()
    return list(zip(names, zip(doubles[::2], doubles[1::2], strict=True), strict=True))


def pack_remarks(remarks: Mapping[bytes, Remark]) -> bytes:
    """Remarks as they are stored."""
    said = {key.decode("utf-8", "surrogateescape"): asdict(it) for key, it in remarks.items()}
    return _seal(json.dumps(said).encode())


def unpack_remarks(stored: bytes) -> dict[bytes, Remark]:
    """The remarks again. Raises Damaged."""
    said = json.loads(_open(stored))
    return {key.encode("utf-8", "surrogateescape"): Remark(**it) for key, it in said.items()}


def _seal(packed: bytes) -> bytes:
    """With a checksum, which tells it from what may become of it."""
    return zlib.crc32(packed).to_bytes(4, "big") + packed


def _open(stored: bytes) -> bytes:
    packed = stored[4:]
    if zlib.crc32(packed).to_bytes(4, "big") != stored[:4]:
        raise Damaged("the checksum is wrong")
    return packed


def kept(kind: str, cells: Iterable[tuple[bytes, Cell]]) -> list[dict[bytes, Cell]]:
    """What is kept of processes that have ended: of counts, also the last removal.

    Two pages: beside sums stands what they lack to the exact ones, which adds up with them.
    """
    by_key: dict[bytes, list[Cell]] = {}
    is_gauge = kind.startswith("gauge")
    for key, (value, time) in cells:
        if not (is_gauge and time < 0.0):  # or it was removed
            by_key.setdefault(key, []).append((value, time if is_gauge else min(time, 0.0)))
    if kind in KEPT:
        return [{key: KEPT[kind](found) for key, found in by_key.items()}]
    sums: dict[bytes, Cell] = {}
    rests: dict[bytes, Cell] = {}
    for key, found in by_key.items():
        total, rest = sum_and_rest([value for value, _ in found])
        sums[key] = total, min(time for _, time in found)
        if rest:
            rests[key] = rest, 0.0
    return [sums, rests]


def snapshot(process: Process, kind: str, cells: Mapping[bytes, Cell], instance: str) -> Snapshot:
    """Cells as others see them."""
    values: memoryview[Any] = memoryview(array("d", [x for cell in cells.values() for x in cell]))
    at = range(0, 2 * len(cells), 2)
    removed = any(time < 0.0 for _, time in cells.values())
    return Snapshot(process, kind, list(cells), at, values, instance, removed=removed)


def remark_snapshot(
    process: Process, kind: str, remarks: Mapping[bytes, Remark], instance: str
) -> Snapshot:
    """Remarks as others see them."""
    nothing: memoryview[Any] = memoryview(b"").cast("d")
    said = dict(remarks)
    return Snapshot(process, kind, (), (), nothing, instance, remarks=said.copy)
