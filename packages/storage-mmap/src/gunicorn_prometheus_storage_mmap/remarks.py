"""Remarks: labels, a value and a time by key, in a file that only we read.

They are what does not fit into a double: exemplars, and what Info and Enum
say. A file is like a page: it belongs to a process and a kind, its entries are
only ever added, and the process stores into them in place. prometheus_client
passes it by, because of its name.

The file begins with the number of bytes in use (uint64). Then follow entries:
length of the key and bytes kept for the remark (two uint32), the key, the
remark. That is a checksum of what follows (CRC-32), the length of the labels
(two uint32), value and time (two doubles), the labels as JSON. All
little-endian.

A remark is larger than what is stored at once, so who reads while it is
written may find parts of two. The checksum tells, and also what a process
left half-written when it was killed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn_prometheus_core.storage import Remark

from .access import Access
from .files import FIRST_BYTES, FileId, allocate, grown, identity, is_at, replacing

SUFFIX = ".remarks"
_HEADER = struct.Struct("<Q")
_ENTRY = struct.Struct("<II")
_CHECKSUM = struct.Struct("<I")
_BODY = struct.Struct("<Idd")
_LEAST_ROOM = 128
_ATTEMPTS = 10


def packed(remark: Remark) -> bytes:
    """A remark as it is stored."""
    labels = json.dumps(dict(remark.labels)).encode()
    body = _BODY.pack(len(labels), remark.value, remark.time) + labels
    return _CHECKSUM.pack(zlib.crc32(body)) + body


def unpacked(stored: bytes) -> Remark | None:
    """A stored remark, whatever comes after it; None if it is not whole."""
    try:
        (checksum,) = _CHECKSUM.unpack_from(stored)
        size, value, when = _BODY.unpack_from(stored, _CHECKSUM.size)
        body = stored[_CHECKSUM.size : _CHECKSUM.size + _BODY.size + size]
        if zlib.crc32(body) != checksum:
            return None
        labels = json.loads(body[_BODY.size :])
    except (struct.error, ValueError):
        return None
    return Remark(labels, value, when) if isinstance(labels, dict) else None


def _entry(key: bytes, cell: bytes) -> bytes:
    """An entry with room for a remark that is somewhat longer."""
    room = max(_LEAST_ROOM, 1 << (len(cell) - 1).bit_length())
    return b"".join((_ENTRY.pack(len(key), room), key, cell.ljust(room, b"\0")))


def _entries(data: Any, start: int, used: int) -> Iterator[tuple[bytes, int, int]]:
    """Key, place and room of each remark between two offsets. Raises ValueError."""
    while start < used:
        if start + _ENTRY.size > used:
            raise ValueError(f"there is no entry at byte {start}")
        length, room = _ENTRY.unpack_from(data, start)
        place = start + _ENTRY.size + length
        if place + room > used:
            raise ValueError(f"the entry at byte {start} does not fit")
        yield bytes(data[start + _ENTRY.size : place]), place, room
        start = place + room


def _used(data: Any, size: int) -> int:
    """How many bytes are in use. Raises ValueError."""
    used = int(_HEADER.unpack_from(data)[0]) if size >= _HEADER.size else 0
    if not _HEADER.size <= used <= size:
        raise ValueError(f"the header claims {used} bytes in use of {size}")
    return used


class Remarks:
    """The remarks of one kind that this process makes. Every method wants the recorder's lock.

    They are kept in memory as well, until there is a file and for when it is lost.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.path: str | None = None
        self._cells: dict[bytes, bytes] = {}
        self._places: dict[bytes, tuple[int, int]] = {}
        self._used = 0
        self._fd = -1
        self._map: mmap.mmap | None = None
        self._file_id: FileId | None = None

    def get(self, key: bytes) -> Remark | None:
        """What was said of that series last, by this process or its predecessor."""
        cell = self._cells.get(key)
        return None if cell is None else unpacked(cell)

    def put(self, key: bytes, remark: Remark) -> None:
        """Say something of a series. Raises OSError when there is no room; it is in memory then.

        A remark of time 0.0 is what holds as long as nobody has said anything.
        """
        if not remark.time and key in self._cells:
            return
        cell = packed(remark)
        self._cells[key] = cell
        if self._map is None:
            return
        place, room = self._places.get(key, (0, 0))
        if len(cell) <= room:
            self._map[place : place + len(cell)] = cell
        else:
            self._append(key, cell)

    def _append(self, key: bytes, cell: bytes) -> None:
        """Add an entry; if there is one that is too small, the later remark counts.

        A finaliser or a signal handler may add others meanwhile, but not between the stores,
        where nothing is called. Then we are not at the end any more, and begin again.
        """
        entry = _entry(key, cell)
        while True:
            start = self._used
            end = start + len(entry)
            if self._map is None or end > len(self._map):
                self._grow(end)
            where, mark = slice(start, end), _HEADER.pack(end)
            place = end - len(entry) + _ENTRY.size + len(key), len(entry) - _ENTRY.size - len(key)
            if self._used == start and self._map is not None:
                self._map[where] = entry
                self._map[:8] = mark
                self._used = end
                self._places[key] = place
                return

    def _grow(self, needed: int) -> None:
        try:
            size = grown(len(self._map or b"") or FIRST_BYTES, needed)
            self._map = allocate(self._fd, size)
        except OSError:
            # Without a file until that is mended, lest every remark tries again.
            self._detach()
            raise

    def forget(self) -> None:
        """Begin anew, without a file: after a fork, say."""
        self._detach()
        self._cells = {}

    def move_to(self, path: str, access: Access) -> None:
        """Continue in that file, in place of what is there, whose remarks stay. Raises OSError."""
        for key, cell in _former(path).items():
            mine = self.get(key)
            theirs = unpacked(cell)
            if theirs is not None and (mine is None or mine.time < theirs.time):
                self._cells[key] = cell
        body = b"".join(_entry(key, cell) for key, cell in self._cells.items())
        used = _HEADER.size + len(body)
        size = grown(FIRST_BYTES, used)
        with replacing(path, size, access) as (fd, shared):
            os.pwrite(fd, _HEADER.pack(used) + body, 0)
        self._detach()
        self._file_id = identity(fd)
        self._fd, self._map, self._used, self.path = fd, shared, used, path
        self._places = {key: (at, room) for key, at, room in _entries(shared, _HEADER.size, used)}

    def _detach(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._map, self.path, self._file_id = -1, None, None, None
        self._places = {}

    @property
    def lost(self) -> bool:
        """Whether it has no file, or the file is no longer the one at its path."""
        return self.path is None or not is_at(self.path, self._file_id)


def _former(path: str) -> Mapping[bytes, bytes]:
    """The whole remarks of a file, as they are stored; none of one that can't be read."""
    found: dict[bytes, bytes] = {}
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        data = file.read()
        for key, place, room in _entries(data, _HEADER.size, _used(data, len(data))):
            cell = data[place : place + room]
            if unpacked(cell) is not None:
                size = _BODY.unpack_from(cell, _CHECKSUM.size)[0]
                found[key] = cell[: _CHECKSUM.size + _BODY.size + size]
    return found


class Reading:
    """A file of remarks being read, while it is written."""

    def __init__(self, file_id: tuple[int, int]) -> None:
        self.file_id = file_id
        self._used = _HEADER.size
        self._map: mmap.mmap | None = None
        self._places: list[tuple[bytes, int, int]] = []
        self._known: dict[int, tuple[bytes, Remark]] = {}

    def refresh(self, fd: int, size: int) -> None:
        """Look at what is new. Raises ValueError for what is no such file, and OSError."""
        if self._map is None or size != len(self._map):
            if size < self._used:
                raise ValueError(f"it has shrunk to {size} bytes")
            self._map = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        used = _used(self._map, size)
        self._places += _entries(self._map, self._used, used)
        self._used = used

    def remarks(self) -> dict[bytes, Remark]:
        """The remarks as they are now, each whole."""
        found: dict[bytes, Remark] = {}
        for key, place, room in self._places:
            remark = self._look(place, room)
            known = found.get(key)
            if remark is not None and (known is None or known.time <= remark.time):
                found[key] = remark
        return found

    def _look(self, place: int, room: int) -> Remark | None:
        """The remark at a place; None if its writer has not finished it and never will."""
        assert self._map is not None
        for _ in range(_ATTEMPTS):
            stored = self._map[place : place + room]
            known = self._known.get(place)
            if known is not None and known[0] == stored:
                return known[1]
            remark = unpacked(stored)
            if remark is not None:
                self._known[place] = stored, remark
                return remark
        return None
