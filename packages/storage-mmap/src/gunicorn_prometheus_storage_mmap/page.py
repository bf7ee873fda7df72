"""A page that this process records into: a mapped file, or plain memory until it has one."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gunicorn_prometheus_core.storage import SUMMED_KINDS

from . import layout
from .access import Access
from .files import FIRST_BYTES, FileId, allocate, grown, identity, is_at, replacing

_MARK = slice(0, layout.HEADER_BYTES)


def _anonymous(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Page:
    """The cells of one kind.

    The position of a key never changes while the process lives: not when the
    page grows, nor when it moves from memory into a file, from one file to
    another, or is begun anew after a fork. So holders of positions need not
    be known to it. Every method wants the recorder's lock held.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.path: str | None = None
        self.keys: list[bytes] = []
        self.view: Any = None
        self._index: dict[bytes, int] = {}
        self._used = layout.HEADER_BYTES
        self._removed = 0
        self._fd = -1
        self._file_id: FileId | None = None
        self._map = _anonymous(FIRST_BYTES)
        self._map[: layout.HEADER_BYTES] = layout.header(self._used)
        self._show()

    def _show(self) -> None:
        self.view = memoryview(self._map).cast("d")

    def place(self, keys: Sequence[bytes]) -> tuple[int, ...]:
        """Positions of these keys, making room for new ones.

        Raises OSError when the file can't grow; then none was added.
        """
        index = self._index
        while new := [key for key in dict.fromkeys(keys) if key not in index]:
            self._append(new)
        at = tuple(map(index.__getitem__, keys))
        self._hold(at)
        return at

    def _hold(self, at: Iterable[int]) -> None:
        """These series are ours, also if they were removed or only our predecessor's until now."""
        view, summed = self.view, self.kind in SUMMED_KINDS
        for i in at:
            stamp = view[i + 1]
            if stamp < 0.0 or (stamp and summed):
                view[i + 1] = 0.0
                if not summed:
                    view[i] = 0.0

    def remove(self, at: Iterable[int]) -> None:
        """This process has these series no more. Their counts stay, for the sum."""
        view, now = self.view, time.time()
        for i in at:
            view[i + 1] = -now
        self._removed = 1
        self._map[_MARK] = layout.header(self._used, 1)

    def _append(self, keys: list[bytes]) -> None:
        """Add new keys, or do nothing when others were added meanwhile.

        The lock doesn't keep a finaliser or a signal handler of the same
        thread from recording. Python runs them at calls and at allocations of
        containers; so what must not be parted is written without either.
        """
        entries = [layout.entry(key) for key in keys]
        body = b"".join(entries)
        start = end = self._used
        places: dict[bytes, int] = {}
        for key, item in zip(keys, entries, strict=True):
            end += len(item)
            places[key] = (end - layout.CELL_BYTES) >> 3
        if end > len(self._map):
            self._grow(grown(len(self._map), end))
        where, mark = slice(start, end), layout.header(end, self._removed)
        if self._used == start:
            self._map[where] = body
            # Readers trust what lies below this mark, so it moves last.
            self._map[_MARK] = mark
            self._used = end
            self._index |= places
            self.keys += keys

    def _grow(self, size: int) -> None:
        former = self._map
        in_memory = self._fd < 0
        larger = _anonymous(size) if in_memory else allocate(self._fd, size)
        view, whole = memoryview(larger).cast("d"), slice(0, len(former))
        if self._map is former:  # again without a call
            if in_memory:
                larger[whole] = former[whole]
            self._map = larger
            self.view = view

    def forget_values(self) -> None:
        """Become a page in memory with the same keys at the same positions, all values zero.

        What was removed stays so, and what was our predecessor's isn't ours.
        """
        summed = self.kind in SUMMED_KINDS
        doubles = memoryview(self._map).cast("d")
        stamps = (doubles[self._index[key] + 1] for key in self.keys)
        entries = b"".join(
            layout.entry(key, 0.0, stamp if summed else min(stamp, 0.0))
            for key, stamp in zip(self.keys, stamps, strict=True)
        )
        self._detach()
        self._map = _anonymous(grown(FIRST_BYTES, self._used))
        self._map[: self._used] = layout.header(self._used, self._removed) + entries
        self._show()

    def move_to(
        self, path: str, former: Mapping[bytes, tuple[float, float]], access: Access
    ) -> None:
        """Continue in the file ``path``, replacing what is there in one step.

        ``former`` is what this page continues: its values are added to ours
        and its keys join ours. Raises OSError, with nothing changed.
        """
        more = b"".join(layout.entry(key) for key in former if key not in self._index)
        used = self._used + len(more)
        size = grown(FIRST_BYTES, used)
        with replacing(path, size, access) as (fd, mapped):
            mapped[: self._used] = self._map[: self._used]
            mapped[self._used : used] = more
            removed = int(self._removed or any(stamp < 0.0 for _, stamp in former.values()))
            mapped[: layout.HEADER_BYTES] = layout.header(used, removed)
            keys, at = layout.scan(mapped, self._used, used)
            places = dict(zip(keys, at, strict=True))
            doubles = memoryview(mapped).cast("d")
            now = time.time() if self.kind in SUMMED_KINDS else 0.0
            for key, (value, stamp) in former.items():
                inherited = key in places
                i = places[key] if inherited else self._index[key]
                doubles[i] += value
                if inherited:
                    doubles[i + 1] = stamp or now
                elif not now:
                    doubles[i + 1] = max(doubles[i + 1], stamp)
        self._detach()
        self._index |= places
        self.keys += keys
        self._fd, self._map, self._used, self.path = fd, mapped, used, path
        self._removed = removed
        self._file_id = identity(fd)
        self._show()

    def _detach(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.path, self._file_id = -1, None, None

    @property
    def lost(self) -> bool:
        """Whether the file this page records into is no longer the one at its path."""
        return self.path is not None and not is_at(self.path, self._file_id)

    @property
    def intact(self) -> bool:
        """Whether the mapped bytes still are the page that we wrote, its values aside."""
        if os.fstat(self._fd).st_size < self._used:
            return False
        try:
            keys, at = layout.scan(self._map, layout.HEADER_BYTES, self._used)
        except layout.CorruptPage:
            return False
        return dict(zip(keys, at, strict=True)) == self._index
