"""What this process records into: a slot of its own and the slot's pages.

The life of a recorder: it begins without a slot, in plain memory. ``bind``
takes a slot and moves the pages into its files, where the counts of the
slot's former owner go on. A fork leaves the child without a slot; it gets one
when it is bound, or by itself the moment it records something. Where no file
can be had, recording goes on in memory and ``tick`` keeps trying.
"""

from __future__ import annotations

import contextlib
import gc
import os
from _thread import RLock
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.recording import Cells, sample_keys
from gunicorn_prometheus_core.storage import Remark

from . import archive, layout, slots
from .access import Access
from .complaints import Complaints
from .page import Page
from .saying import Saying
from .unbound import Unbound

#: Role of a process that nobody gave another: a child that the application forked.
CHILD = "process"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """No finaliser runs meanwhile: it may record, and would find pages that are half moved."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Recorder:
    """See :class:`gunicorn_prometheus_core.recording.Recorder`."""

    # Monkey-patching by eventlet turns locks that it finds in a __dict__ into locks of greenlets.
    __slots__ = ("__dict__", "__weakref__", "lock")

    def __init__(self, directory: str = "", access: Access | None = None) -> None:
        # From _thread, so that no monkey-patching makes it a lock of greenlets.
        self.lock = RLock()
        #: Where the slots are; "" while that isn't known yet, and everything is kept in memory.
        self.directory = directory
        #: Role that a forked child binds to when it records before anybody bound it.
        self.fork_role = CHILD
        self._access = access or Access()
        self._slot: slots.Slot | None = None
        self._role = ""
        self._pages: dict[str, Page] = {}
        self._overflow: dict[str, Page] = {}
        self._complaints = Complaints(self.lock)
        self._saying = Saying(self._complaints)
        #: Called at each tick, without the lock.
        self.on_tick: list[Callable[[], None]] = []
        self._dropped = self._counter(catalogue.EXPORTER_DROPPED)
        self._quarantined = self._counter(catalogue.EXPORTER_QUARANTINED)

    def _counter(self, family: catalogue.Family) -> Cells:
        return self.cells("counter", sample_keys(family, {}))

    @property
    def process(self) -> str:
        """Name of the slot this process owns, or "" while it owns none."""
        return self._slot.name if self._slot else ""

    def cells(self, kind: str, keys: Sequence[bytes]) -> Cells:
        """Places for these keys. What no longer fits on the disk is kept in memory, and counted."""
        with self._complaints.held():
            page = self._page(kind)
            try:
                return Cells(page, page.place(keys))
            except OSError as error:
                self._complaints.once(
                    f"{kind} page full",
                    "no room for more series in %s: %s; "
                    "further ones are counted in gunicorn_exporter_series_dropped_total",
                    page.path,
                    error,
                )
            spare = self._overflow.get(kind)
            if spare is None:
                spare = self._overflow[kind] = Page(kind)
            known = len(spare.keys)
            at = spare.place(keys)
            self._add(self._dropped, len(spare.keys) - known)
            return Cells(spare, at)

    def keys(self, kind: str) -> Sequence[bytes]:
        """Every key this process has a stored place for, its predecessors' included."""
        with self._complaints.held():
            return tuple(self._page(kind).keys)

    def remove(self, all_cells: Iterable[Cells]) -> None:
        """This process has these series no more; with their next ``cells`` it has them again."""
        with self._complaints.held():
            self._bind_child()
            for cells in all_cells:
                if isinstance(cells.page, Page):
                    cells.page.remove(cells.at)

    def remark(self, kind: str, key: bytes, remark: Remark) -> None:
        """Say something of a series, in place of what was said before."""
        with self._complaints.held():
            self._bind_child()
            self._saying.put(kind, key, remark)

    def remarked(self, kind: str, key: bytes) -> Remark | None:
        """What this process, or its predecessor in the slot, has said of a series last."""
        with self._complaints.held():
            return self._saying.get(kind, key)

    def settle(self, directory: str, access: Access) -> None:
        """Say where the slots are. Takes effect when a role is bound."""
        with self.lock:
            self.directory, self._access = directory, access

    def bind(self, role: str) -> str:
        """Own a slot of that role from now on; "" if none can be had (logged, and tried again)."""
        with self._complaints.held(), _undisturbed():
            self._role = role
            self.fork_role = CHILD
            if self._slot is not None:
                self._slot.drop()
                self._slot = None
                self._begin_anew()
            elif self._is_forked():
                self._begin_anew()
            self._attach()
            return self.process

    def tick(self) -> None:
        """Get a slot if we have none, and replace pages that somebody removed or set aside."""
        with self._complaints.held(), _undisturbed():
            self._mend_all()
        for call in self.on_tick:
            call()

    def _mend_all(self) -> None:
        if self._slot is not None and self._slot.is_lost(self.directory):
            self._reclaim()
        if self._slot is None:
            if self._role:
                self._attach()
            return
        for page in tuple(self._pages.values()):
            if page.path is None or page.lost:
                self._mend(page)
        self._saying.mend()

    def note(self, **facts: Any) -> None:
        """Leave facts in our slot."""
        with self.lock:
            if self._slot is not None:
                self._slot.note(**facts)

    def close(self) -> None:
        """Give the slot up. What is recorded afterwards stays in memory."""
        with self.lock, _undisturbed():
            if self._slot is not None:
                self._slot.drop()
                self._slot = None
            self._role = ""
            self._begin_anew()

    def forked(self) -> None:
        """To be called in the child of a fork, before it records."""
        if self._slot is not None:
            self._slot.drop()
            self._slot = None
        for page in (*self._pages.values(), *self._overflow.values()):
            page.view = Unbound(page, self._bind_child)
        self._saying.forget()

    def _bind_child(self) -> None:
        """Get a slot, if this is a forked child that has none yet."""
        if self._is_forked():
            self.bind(self.fork_role)

    def _is_forked(self) -> bool:
        return any(isinstance(page.view, Unbound) for page in self._pages.values())

    def _begin_anew(self) -> None:
        for page in (*self._pages.values(), *self._overflow.values()):
            page.forget_values()
        self._saying.forget()

    def _page(self, kind: str) -> Page:
        self._bind_child()
        page = self._pages.get(kind)
        if page is None:
            page = self._pages[kind] = Page(kind)
            if self._slot is not None:
                with _undisturbed():
                    self._mend(page)
        return page

    def _attach(self) -> None:
        """Take a slot and move every page into it."""
        if not self.directory:
            return
        slot: slots.Slot | None = None
        try:
            with slots.locked(self.directory, self._access):
                if self._slot is not None:
                    return  # another greenlet has taken one while we were waiting
                slot = slots.claim(self.directory, self._role, self._access)
                archive.absorb(self.directory, slot.name, self._access)
        except OSError as error:
            if slot is not None:
                slot.drop()
            self._complaints.once(
                "slot",
                "can't record into %s: %s; counting goes on in memory until that is mended",
                self.directory, error,
            )  # fmt: skip
            return
        self._slot = slot
        self._move_all()

    def _move_all(self) -> None:
        for page in tuple(self._pages.values()):
            self._move(page, self._former(page.kind))
        self._saying.move_to(self.directory, self.process, self._access)

    def _reclaim(self) -> None:
        """Own our slot again after its file was removed, with the directory perhaps."""
        lost = self._slot
        assert lost is not None
        try:
            self._access.make_directory(self.directory)
            with slots.locked(self.directory, self._access):
                if self._slot is not lost:
                    return  # as above
                slot = slots.claim(self.directory, self._role, self._access, int(lost.number))
        except OSError as error:
            self._complaints.once("slot", "can't record into %s: %s", self.directory, error)
            return
        lost.drop()
        self._slot = slot
        if slot.name != lost.name:
            # Another process has taken our slot meanwhile, and continues what was counted there.
            self._begin_anew()
            self._move_all()

    def _path(self, kind: str) -> str:
        return os.path.join(self.directory, layout.file_name(kind, self.process))

    def _mend(self, page: Page) -> None:
        """Give a page its file: for the first time, or again after it vanished or was replaced."""
        former = self._former(page.kind)
        if page.path is not None and (former or not page.intact):
            # What took our file's place is its last good state; ours can't be trusted.
            page.forget_values()
        self._move(page, former)

    def _move(self, page: Page, former: Mapping[bytes, tuple[float, float]]) -> None:
        try:
            page.move_to(self._path(page.kind), former, self._access)
        except OSError as error:
            self._complaints.once(
                f"{page.kind} page",
                "can't write %s: %s; counting goes on in memory until that is mended",
                self._path(page.kind), error,
            )  # fmt: skip

    def _former(self, kind: str) -> Mapping[bytes, tuple[float, float]]:
        """What the slot's page of that kind holds; a corrupt one is set aside."""
        path = self._path(kind)
        try:
            with open(path, "rb") as file:
                return layout.read(file.read())
        except FileNotFoundError:
            return {}
        except layout.CorruptPage as error:
            with contextlib.suppress(OSError):  # else another one takes its place all the same
                os.replace(path, f"{path}.corrupt")
            self._add(self._quarantined, 1)
            self._complaints.say("set the corrupt page %s aside: %s", path, error)
        except OSError as error:
            self._complaints.once(f"read {kind}", "can't read %s: %s", path, error)
        return {}

    def _add(self, cells: Cells, amount: float) -> None:
        cells.page.view[cells.at[0]] += amount
