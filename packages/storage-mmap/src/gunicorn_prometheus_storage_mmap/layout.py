"""The bytes of a page: prometheus_client's multiprocess file format.

A page begins with the number of bytes in use (native int32) and four bytes
that prometheus_client leaves zero. Then follow entries: length of the key
(int32), the key in UTF-8, spaces up to the next multiple of eight, the value
and the time it was set (two native doubles). See ``prometheus_client.mmap_dict``.

Two things are ours, where prometheus_client looks at nothing. The four bytes
are an int32 that is 1 once a series was removed from the page. The second
double of what is summed up, which it leaves zero, is a time: positive since
when the process has the series from its slot's former owner only; negative
since when it was removed. A gauge's is negative when it was removed.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from gunicorn_prometheus_core.storage import NATIVE

HEADER_BYTES = 8
CELL_BYTES = 16

_INT = struct.Struct("i")
_HEADER = struct.Struct("ii")
_CELL = struct.Struct("dd")
_LOOKS_LIKE_A_KEY = operator.methodcaller("startswith", b"[")


#: Of pages of kinds that prometheus_client knows, and of those that it must pass by.
SUFFIX, OWN_SUFFIX = ".db", ".cells"


def file_name(kind: str, process: str) -> str:
    """Name of the file of a page."""
    return f"{kind}_{process}{OWN_SUFFIX if kind == NATIVE else SUFFIX}"


class CorruptPage(Exception):
    """A page whose bytes can't be a page. The message says what is wrong."""


def header(used: int, removed: int = 0) -> bytes:
    """The first eight bytes of a page that has ``used`` bytes in use."""
    return _HEADER.pack(used, removed)


def used_bytes(data: Any, size: int) -> int:
    """How many bytes of a page of that size are in use. Raises CorruptPage."""
    if size < HEADER_BYTES:
        raise CorruptPage(f"{size} bytes are too few for a page")
    if is_blank(data):
        # What another process has created but not yet written its header into.
        return HEADER_BYTES
    used, removed = _HEADER.unpack_from(data)
    if removed not in (0, 1) or used < HEADER_BYTES or used % 8 or used > size:
        raise CorruptPage(f"the header claims {used} bytes in use of {size}")
    return int(used)


def is_blank(data: Any) -> bool:
    """Whether nothing has been written into a page, not even that it is empty."""
    return not any(_HEADER.unpack_from(data))


def has_removed(data: Any) -> bool:
    """Whether a series was ever removed from a page; what is to be known before times are."""
    return bool(_HEADER.unpack_from(data)[1])


def entry(key: bytes, value: float = 0.0, stamp: float = 0.0) -> bytes:
    """An entry's bytes; the value is 16 bytes before their end."""
    padding = b" " * (8 - (len(key) + 4) % 8)
    return b"".join((_INT.pack(len(key)), key, padding, _CELL.pack(value, stamp)))


def image(entries: Iterable[tuple[bytes, float, float]]) -> bytes:
    """A whole page holding these keys, values and times."""
    body = b"".join(entry(*item) for item in entries)
    return header(HEADER_BYTES + len(body)) + body


def scan(
    data: Any, start: int, used: int, known: dict[bytes, bytes] | None = None
) -> tuple[list[bytes], list[int]]:
    """Keys of the entries between two byte offsets, and the positions of their values.

    A position counts doubles from the beginning of the page. Keys that are in
    ``known`` are given as the objects there, new ones are added to it: pages
    of workers mostly have the same keys. Raises CorruptPage.
    """
    if start == used:
        return [], []
    known = {} if known is None else known
    before = len(known)
    intern = known.setdefault
    chunk = bytes(data[start:used])
    # Offsets in ints. Lengths are read as unsigned, so that garbage can only lead beyond the end.
    ints = memoryview(chunk).cast("I")
    end = len(ints)
    starts: list[int] = []
    note = starts.append
    offset = 0
    while offset < end:
        note(offset)
        # Length and key are padded to the next multiple of eight bytes; the cell follows.
        offset += ((ints[offset] + 4) >> 3 << 1) + 6
    if offset != end:
        raise CorruptPage(f"the entry at byte {start + starts[-1] * 4} does not fit")
    keys = [intern(key := chunk[at * 4 + 4 : at * 4 + 4 + ints[at]], key) for at in starts]
    if not all(map(_LOOKS_LIKE_A_KEY, islice(known, before, None))):
        for key in list(islice(known, before, None)):
            del known[key]  # or they would pass as known the next time
        raise CorruptPage("there are entries whose key is not a JSON list")
    ends = [*starts[1:], end] if starts else []
    first = (start >> 3) - CELL_BYTES // 8
    return keys, [first + (following >> 1) for following in ends]


class Shape:
    """The entries of a page that has been scanned, to find the same ones in other pages quickly.

    Workers forked from one master begin with the master's entries, so their
    pages have long beginnings in common.
    """

    def __init__(self, keys: Sequence[bytes], at: Sequence[int]) -> None:
        self.keys, self.at = list(keys), list(at)
        self.used = at[-1] * 8 + CELL_BYTES
        begins = [
            position * 8 - (((len(k) + 4) & ~7) + 4) for k, position in zip(keys, at, strict=True)
        ]
        self._last = begins[-1] - 4
        slices = [slice(begin, begin + len(key)) for begin, key in zip(begins, keys, strict=True)]
        # One more, because itemgetter of a single one would not give a tuple.
        self._pick = operator.itemgetter(*slices, slice(0, 0))

    def begins(self, data: bytes, used: int) -> bool:
        """Whether a page with these bytes begins with just these entries."""
        if used < self.used or _INT.unpack_from(data, self._last)[0] != len(self.keys[-1]):
            return False
        return bool(self._pick(data) == (*self.keys, b""))


def read(data: bytes) -> dict[bytes, tuple[float, float]]:
    """Value and time by key of a whole page. Raises CorruptPage."""
    used = used_bytes(data, len(data))
    keys, at = scan(data, HEADER_BYTES, used)
    doubles = memoryview(data)[: len(data) & ~7].cast("d")
    return {key: (doubles[i], doubles[i + 1]) for key, i in zip(keys, at, strict=True)}
