"""A page being read, while it is written.

Reading costs the writers nothing and asks nothing of them: a page is mapped
read-only and looked at while it changes. What was learned about it stays valid
because entries are only ever added; a page that was begun anew is another file.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from . import layout
from .files import FileId

#: Pages up to this size are remembered at every reading, larger ones now and then.
_SMALL_BYTES = 1 << 18
_REMEMBER_SECONDS = 10.0


class PageReading:
    """One page file being read, while it is written. Used by one thread at a time."""

    def __init__(self, path: str, kind: str, process: str, file_id: FileId) -> None:
        self.path, self.kind, self.process = path, kind, process
        self.file_id = file_id
        self.frozen = False
        #: Whether a series was ever removed from it.
        self.removed = False
        self.keys: list[bytes] = []
        self.at: list[int] = []
        self.values: memoryview[Any] = memoryview(b"")
        self.remembered = b""
        self._remembered_at = time.monotonic()
        self._used = layout.HEADER_BYTES
        self._size = 0
        self._map: mmap.mmap | None = None

    def refresh(self, fd: int, size: int, known: Known, *, whole: bool) -> None:
        """Look at what is new, making use of what is ``known`` from other pages.

        ``whole`` says that the file has come to its place as a page, as ours do: prometheus_client
        creates an empty one. Raises CorruptPage, or OSError when the file can't be mapped.
        """
        if size == 0 and self._map is None and not whole:
            return
        size &= ~7
        if size < self._used:
            raise layout.CorruptPage(f"it has shrunk to {size} bytes")
        mapped, used = self._look(fd, size)
        if whole and layout.is_blank(mapped):
            raise layout.CorruptPage("there is nothing in it")
        if used < self._used or not self._last_key_stands():
            raise layout.CorruptPage("entries that were there before are gone")
        if used > self._used:
            if not self.keys:
                self._begin_like(known.shape(self.kind), used)
            keys, at = layout.scan(mapped, self._used, used, known.keys)
            self._used = used
            self.keys += keys
            self.at += at
            known.first.setdefault(self.kind, (self.keys, self.at))
        self.removed = layout.has_removed(mapped)
        now = time.monotonic()
        if used <= _SMALL_BYTES or now - self._remembered_at > _REMEMBER_SECONDS:
            # With a header of its own: that of the file may have moved on.
            body = memoryview(mapped)[layout.HEADER_BYTES : used]
            self.remembered = b"".join((layout.header(used, int(self.removed)), body))
            self._remembered_at = now

    def _look(self, fd: int, size: int) -> tuple[mmap.mmap, int]:
        """The mapped file, and how many bytes of it are in use. Raises CorruptPage, or OSError."""
        while True:
            if self._map is None or size != self._size:
                self._map = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
                self._size = size
                self.values = memoryview(self._map).cast("d")
                # A snapshot that another thread still reads has the smaller values: its keys must
                # not grow beyond them.
                self.keys, self.at = list(self.keys), list(self.at)
            try:
                return self._map, layout.used_bytes(self._map, size)
            except layout.CorruptPage:
                # Its writer may have made it larger, and used that, since we asked for its size.
                grown = os.fstat(fd).st_size & ~7
                if grown <= size:
                    raise
                size = grown

    def freeze(self) -> None:
        """Stay at the last good state that is known.

        The file stays mapped, so that no other one gets its inode number while we go by that.
        """
        self.frozen = True
        self.keys, self.at = layout.scan(
            self.remembered, layout.HEADER_BYTES, max(layout.HEADER_BYTES, len(self.remembered))
        )
        self.values = memoryview(self.remembered).cast("d")

    def _begin_like(self, shape: layout.Shape | None, used: int) -> None:
        """Take over the entries of another page, if ours begins with the same ones."""
        assert self._map is not None
        if shape is not None and shape.begins(self._map[:used], used):
            self.keys += shape.keys
            self.at += shape.at
            self._used = shape.used

    def _last_key_stands(self) -> bool:
        if not self.keys or self._map is None:
            return True
        key = self.keys[-1]
        end = self.at[-1] * 8
        begin = end - (len(key) + 8 - (len(key) + 4) % 8)
        return self._map[begin : begin + len(key)] == key


class Known:
    """What pages have in common: the objects of keys, and the entries they begin with."""

    def __init__(self) -> None:
        self.keys: dict[bytes, bytes] = {}
        #: Keys and positions of the first page that was read, by kind.
        self.first: dict[str, tuple[list[bytes], list[int]]] = {}
        self._shapes: dict[str, layout.Shape] = {}

    def shape(self, kind: str) -> layout.Shape | None:
        """The entries of the first page of that kind; None if there is none yet."""
        if kind not in self._shapes and kind in self.first:
            self._shapes[kind] = layout.Shape(*self.first[kind])
        return self._shapes.get(kind)
