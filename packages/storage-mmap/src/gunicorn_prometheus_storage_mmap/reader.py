"""Everybody's pages, as snapshots.

Reading costs the writers nothing and asks nothing of them: pages are mapped
read-only and looked at while they change. What was learned about a page stays
valid because entries are only ever added; a page that was begun anew is
another file.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.storage import NATIVE, REMARK_KINDS, SUMMED_KINDS, Process, Snapshot

from . import archive, layout, remarks, slots
from .access import Access

_GAUGE_MODES = frozenset(
    prefix + mode for prefix in ("", "live") for mode in ("all", "min", "max", "sum", "mostrecent")
)
#: Pages up to this size are remembered at every reading, larger ones now and then.
_SMALL_BYTES = 1 << 18
_REMEMBER_SECONDS = 10.0


def parse_name(name: str) -> tuple[str, str] | None:
    """Kind and process of a page's file name, by prometheus_client's rule; None for other files.

    The pages that prometheus_client must not read are named by a rule of their own.
    """
    if name.startswith(f"{NATIVE}_") and name.endswith(layout.OWN_SUFFIX):
        return NATIVE, name.removeprefix(f"{NATIVE}_").removesuffix(layout.OWN_SUFFIX)
    if not name.endswith(layout.SUFFIX):
        return None
    parts = name[:-3].split("_")
    if parts[0] == "gauge" and len(parts) == 3 and parts[1] in _GAUGE_MODES:
        return f"gauge_{parts[1]}", parts[2]
    if parts[0] in SUMMED_KINDS - {NATIVE} and len(parts) == 2:
        return parts[0], parts[1]
    return None


class _Page:
    """One page file being read."""

    def __init__(self, path: str, kind: str, process: str, file_id: tuple[int, int]) -> None:
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

    def refresh(self, fd: int, size: int, known: _Known) -> None:
        """Look at what is new, making use of what is ``known`` from other pages.

        Raises CorruptPage, or OSError when the file can't be mapped.
        """
        if size == 0 and self._map is None:
            return  # prometheus_client has just created it
        size &= ~7
        if size < self._used:
            raise layout.CorruptPage(f"it has shrunk to {size} bytes")
        mapped, used = self._look(fd, size)
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


class _Known:
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


class Reader:
    """The pages of a directory. Used by one thread at a time.

    ``access`` None means the directory is somebody else's: nothing in it is
    changed, and a corrupt page only stays at its last good state.
    """

    def __init__(
        self,
        directory: str,
        access: Access | None,
        on_quarantine: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._access = access
        self._on_quarantine = on_quarantine
        self._pages: dict[str, _Page] = {}
        self._remarks: dict[str, remarks.Reading] = {}
        self._known = _Known()
        self._unreadable: set[str] = set()
        self._slots: dict[str, tuple[int, int, int]] = {}
        self._processes: dict[str, Process] = {}

    def collect(self) -> Sequence[Snapshot]:
        """A snapshot of each page. Raises StorageUnavailable when there is no directory."""
        self._processes = {process.name: process for process in self._look_at_slots()}
        pages: dict[str, _Page] = {}
        noted: dict[str, remarks.Reading] = {}
        for name in self._names():
            if name.endswith(remarks.SUFFIX):
                reading = self._read_remarks(name)
                if reading is not None:
                    noted[name] = reading
                continue
            page = self._read(name)
            if page is not None:
                pages[name] = page
        self._pages, self._remarks = pages, noted
        self._trim()
        return [
            *map(self._snapshot, pages.values()),
            *(self._snapshot_of_remarks(name, reading) for name, reading in noted.items()),
        ]

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._directory))
        except OSError as error:
            raise StorageUnavailable(f"can't read {self._directory}: {error}") from error

    def _read(self, name: str) -> _Page | None:
        """The page of that file name as it is now; None if it isn't one or can't be read."""
        named = parse_name(name)
        if named is None:
            return None
        path = os.path.join(self._directory, name)
        try:
            with open(path, "rb") as file:
                # Of the file that is open: what is at the path may just be replaced.
                status = os.fstat(file.fileno())
                file_id = status.st_dev, status.st_ino
                page = self._pages.get(name)
                if page is None or page.file_id != file_id:
                    page = _Page(path, *named, file_id)
                if not page.frozen:
                    try:
                        page.refresh(file.fileno(), status.st_size, self._known)
                    except layout.CorruptPage as error:
                        self._set_aside(page, str(error))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._leave_out(name, error)
            return None
        return page

    def _leave_out(self, name: str, error: Exception) -> None:
        if name not in self._unreadable:
            self._unreadable.add(name)
            path = os.path.join(self._directory, name)
            log.error("can't read %s, which is left out: %s", path, error)

    def _read_remarks(self, name: str) -> remarks.Reading | None:
        """The remarks in the file of that name; None if it isn't one of ours or can't be read."""
        if name.partition("_")[0] not in REMARK_KINDS:
            return None
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                status = os.fstat(file.fileno())
                file_id = status.st_dev, status.st_ino
                reading = self._remarks.get(name)
                if reading is None or reading.file_id != file_id:
                    reading = remarks.Reading(file_id)
                reading.refresh(file.fileno(), status.st_size)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._leave_out(name, error)
            return None
        return reading

    def _trim(self) -> None:
        """Forget what is shared when most of it is of pages that are gone."""
        pages = self._pages.values()
        if len(self._known.keys) > 1000 + 2 * sum(len(page.keys) for page in pages):
            self._known = _Known()
            self._known.keys.update((key, key) for page in pages for key in page.keys)

    def processes(self) -> Sequence[Process]:
        """The owners of slots, present and past, as of the last ``collect``."""
        return list(self._processes.values())

    def close(self) -> None:
        """Let go of all files."""
        for fd, *_ in self._slots.values():
            os.close(fd)
        self._slots.clear()
        self._pages.clear()

    def _snapshot(self, page: _Page) -> Snapshot:
        return Snapshot(
            self._process_of(page.process),
            page.kind,
            page.keys,
            page.at,
            page.values,
            removed=page.removed,
        )

    def _snapshot_of_remarks(self, name: str, reading: remarks.Reading) -> Snapshot:
        kind, _, process = name.removesuffix(remarks.SUFFIX).partition("_")
        nothing = memoryview(b"").cast("d")
        return Snapshot(self._process_of(process), kind, (), (), nothing, remarks=reading.remarks)

    def _process_of(self, name: str) -> Process:
        process = self._processes.get(name)
        if process is None:
            process = Process(name, archive.NAME if name == archive.NAME else "other", name)
        return process

    def _set_aside(self, page: _Page, reason: str) -> None:
        """Put a corrupt page out of the way, its last good state in its place if we know one.

        Whoever records into it notices that the file has changed and goes on in the new one.
        This scrape gives the last good state, too, so that no counter goes down.
        """
        self._on_quarantine()
        page.freeze()
        if self._access is None:
            log.error("the page %s is corrupt and no longer read: %s", page.path, reason)
            return
        log.error("set the corrupt page %s aside: %s", page.path, reason)
        try:
            os.replace(page.path, f"{page.path}.corrupt")
            if page.remembered:
                archive.write(page.path, dict(layout.read(page.remembered)), self._access)
        except OSError as error:
            log.error("can't restore %s: %s", page.path, error)

    def _look_at_slots(self) -> list[Process]:
        try:
            with slots.locked(self._directory, None, shared=True):
                return [self._process(name) for name in self._opened_slots()]
        except FileNotFoundError:
            return []  # a directory that only prometheus_client has written into
        except TimeoutError as error:
            log.warning("%s; taking everybody to live", error)
            return list(self._processes.values())
        except OSError as error:
            raise StorageUnavailable(f"can't read {self._directory}: {error}") from error

    def _opened_slots(self) -> list[str]:
        names = slots.names(self._directory)
        for name in self._slots.keys() | set(names):
            held = self._slots.get(name)
            try:
                status = os.stat(os.path.join(self._directory, name))
            except FileNotFoundError:
                status = None
            if held and (status is None or held[1:] != (status.st_dev, status.st_ino)):
                os.close(self._slots.pop(name)[0])
                held = None
            if held is None and status is not None:
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY | os.O_CLOEXEC)
                self._slots[name] = fd, status.st_dev, status.st_ino
        return [name for name in names if name in self._slots]

    def _process(self, file_name: str) -> Process:
        fd = self._slots[file_name][0]
        name = file_name.removesuffix(slots.SUFFIX)
        role, _, number = name.rpartition("-")
        alive = slots.is_owned(fd)
        noted = slots.facts(fd)
        return Process(
            name,
            role,
            number,
            alive,
            # Of another container it would be the pid of somebody else here.
            pid=noted.get("pid") if noted.get("pids") == slots.pid_namespace() else None,
            started=noted.get("started"),
            ended=None if alive else os.fstat(fd).st_mtime,
        )
