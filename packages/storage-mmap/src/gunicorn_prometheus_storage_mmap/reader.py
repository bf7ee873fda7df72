"""Everybody's pages, as snapshots."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.storage import NATIVE, REMARK_KINDS, SUMMED_KINDS, Process, Snapshot

from . import archive, layout, remarks, slots
from .access import Access
from .owners import Owners
from .reading import Known, PageReading

_GAUGE_MODES = frozenset(
    prefix + mode for prefix in ("", "live") for mode in ("all", "min", "max", "sum", "mostrecent")
)


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
        self._pages: dict[str, PageReading] = {}
        self._remarks: dict[str, remarks.Reading] = {}
        self._known = Known()
        self._unreadable: set[str] = set()
        self._owners = Owners(directory)
        self._processes: dict[str, Process] = {}

    def collect(self) -> Sequence[Snapshot]:
        """A snapshot of each page. Raises StorageUnavailable when there is no directory."""
        with contextlib.ExitStack() as held:
            self._look_at_owners(held)
            names = self._names()
            # Who takes a slot moves what its gauges have kept into the archive. Meanwhile it would
            # be in both, or in neither.
            pages = self._read_all(name for name in names if name.startswith("gauge_"))
        pages |= self._read_all(name for name in names if not name.startswith("gauge_"))
        found = {name: self._read_remarks(name) for name in names if name.endswith(remarks.SUFFIX)}
        self._remarks = {name: one for name, one in found.items() if one is not None}
        self._pages = pages
        self._trim()
        return [
            *map(self._snapshot, pages.values()),
            *(self._snapshot_of_remarks(*of) for of in self._remarks.items()),
        ]

    def _look_at_owners(self, held: contextlib.ExitStack) -> None:
        """Look at who owns the slots; nobody takes one until ``held`` is let go."""
        try:
            held.enter_context(slots.locked(self._directory, None, shared=True))
            self._processes = {process.name: process for process in self._owners.look()}
        except FileNotFoundError:
            self._processes = {}  # a directory that only prometheus_client has written into
        except TimeoutError as error:
            log.warning("%s; taking everybody to live", error)
        except OSError as error:
            raise StorageUnavailable(f"can't read {self._directory}: {error}") from error

    def _read_all(self, names: Iterable[str]) -> dict[str, PageReading]:
        pages = {name: self._read(name) for name in names}
        return {name: page for name, page in pages.items() if page is not None}

    def _names(self) -> list[str]:
        try:
            return sorted(os.listdir(self._directory))
        except OSError as error:
            raise StorageUnavailable(f"can't read {self._directory}: {error}") from error

    def _read(self, name: str) -> PageReading | None:
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
                    page = PageReading(path, *named, file_id)
                if not page.frozen:
                    whole = page.process in self._processes
                    try:
                        page.refresh(file.fileno(), status.st_size, self._known, whole=whole)
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
            self._known = Known()
            self._known.keys.update((key, key) for page in pages for key in page.keys)

    def processes(self) -> Sequence[Process]:
        """The owners of slots, present and past, as of the last ``collect``."""
        return list(self._processes.values())

    def close(self) -> None:
        """Let go of all files."""
        self._owners.close()
        self._pages.clear()

    def _snapshot(self, page: PageReading) -> Snapshot:
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

    def _set_aside(self, page: PageReading, reason: str) -> None:
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
