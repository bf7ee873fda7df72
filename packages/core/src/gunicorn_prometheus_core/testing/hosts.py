"""Hosts as a backend sees them: what they have recorded, and their exporter process."""

from __future__ import annotations

import json
import os
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from .. import configuration, recording
from ..checking import Checking
from ..settings import Settings
from ..storage import Process, Remark, Snapshot, Storage, for_backend
from .place import Place

Result = TypeVar("Result")
#: Longest that anything may take; only what hangs reaches it.
DEADLINE_SECONDS = 30.0
_NO_VALUES = memoryview(b"").cast("d")


class Hangs(AssertionError):
    """A backend has not come back."""


class _Thread:
    """The one thread that a backend's storage is used by."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="exporter", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def do(self, call: Callable[[], Result], seconds: float) -> Result:
        """What a call gives or raises in the thread. Raises Hangs when it takes too long."""
        answers: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

        def answer() -> None:
            try:
                answers.put((call(), None))
            except BaseException as error:  # noqa: BLE001  it is raised where it was asked for
                answers.put((None, error))

        self._calls.put(answer)
        try:
            result, error = answers.get(timeout=seconds)
        except queue.Empty:
            raise Hangs(f"it has not come back within {seconds:g} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is one where nothing was raised

    def end(self) -> None:
        self._calls.put(None)
        self._thread.join(DEADLINE_SECONDS)


class Page:
    """The values of one process and kind."""

    def __init__(self, process: Process, kind: str) -> None:
        self.process: Process = process
        self.kind: str = kind
        self.keys: list[bytes] = []
        self.at: list[int] = []
        #: What ``Snapshot.removed`` says.
        self.removed: bool = False
        self._places: dict[bytes, int] = {}
        self.values: array[float] = array("d", [0.0])

    def set(self, key: bytes, value: float, stamp: float = 0.0) -> None:
        """Let the value, and of a gauge its time, of a key be this."""
        if key not in self._places:
            self._places[key] = len(self.values)
            self.at.append(len(self.values))
            self.keys.append(key)
            self.values = array("d", self.values)  # as a page that grows is mapped anew
            self.values.extend((0.0, 0.0))
        place = self._places[key]
        self.values[place] = value
        self.values[place + 1] = stamp if self.kind.startswith("gauge") else 0.0

    def remove(self, key: bytes, when: float) -> None:
        """Remove the series of a key, at a time; what it holds stays."""
        self.values[self._places[key] + 1] = -when
        self.removed = True

    def get(self, key: bytes) -> float:
        """The value of a key, 0.0 before it has one."""
        return self.values[self._places[key]] if key in self._places else 0.0

    def snapshot(self) -> Snapshot:
        """The values as they are; later stores can be seen in it."""
        values = memoryview(self.values)
        return Snapshot(self.process, self.kind, self.keys, self.at, values, removed=self.removed)


class Host:
    """A host that records, and whose exporter process publishes and collects.

    The backend is used in a thread of its own, as the exporter process does.
    """

    def __init__(self, place: Place, directory: str, **environ: str) -> None:
        self.place: Place = place
        self.directory: str = directory
        chosen = {"GUNICORN_PROMETHEUS_STORAGE": place.name}
        self.settings: Settings = configuration.load({**chosen, **place.environ, **environ})
        self.pages: dict[tuple[str, str], Page] = {}
        #: What it says of series, by process and kind.
        self.remarks: dict[tuple[str, str], dict[bytes, Remark]] = {}
        self._thread: _Thread | None = None
        self._storage: Storage | None = None
        self._checking = Checking()

    # What it records

    def page(self, kind: str, process: str = "worker-0") -> Page:
        """The page of a process and kind, made if it isn't there."""
        if (process, kind) not in self.pages:
            self.pages[process, kind] = Page(_process(process), kind)
        return self.pages[process, kind]

    def count(
        self, name: str, amount: float = 1.0, process: str = "worker-0", **labels: str
    ) -> None:
        """Add to a counter."""
        page, key = (
            self.page("counter", process),
            recording.key(name, f"{name}_total", labels, "Help."),
        )
        page.set(key, page.get(key) + amount)

    def gauge(
        self, name: str, value: float, mode: str, stamp: float = 1.0, process: str = "worker-0"
    ) -> None:
        """Set a gauge, at a time."""
        self.page(f"gauge_{mode}", process).set(
            recording.key(name, name, {}, "Help."), value, stamp
        )

    def remark(self, kind: str, key: bytes, remark: Remark, process: str = "worker-0") -> None:
        """Say something of a series."""
        self.remarks.setdefault((process, kind), {})[key] = remark

    def snapshots(self) -> list[Snapshot]:
        """What it has recorded."""
        found = [page.snapshot() for page in self.pages.values()]
        for (process, kind), said in self.remarks.items():
            found.append(Snapshot(_process(process), kind, (), (), _NO_VALUES, remarks=said.copy))
        return found

    # Its exporter process

    def call(self, what: Callable[[Storage], Result], seconds: float = DEADLINE_SECONDS) -> Result:
        """Use the storage, opened if it isn't. Raises what that raises, and :class:`Hangs`."""
        if self._thread is None:
            self._thread = _Thread()
        return self._thread.do(lambda: what(self._opened()), seconds)

    def _opened(self) -> Storage:
        if self._storage is None:
            self._storage = self.place.backend().open(self.settings, self.directory)
        return self._storage

    @property
    def instance(self) -> str:
        """The name of the instance."""
        return self.call(lambda storage: storage.instance)

    def publish(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Publish what it has recorded."""
        taken = for_backend(self.snapshots(), self.place.backend().capabilities)
        self.call(lambda storage: storage.publish(iter(taken)), seconds)

    def collect(self, seconds: float = DEADLINE_SECONDS) -> list[Snapshot]:
        """What its exporter collects, looked over."""
        return self._checking.snapshots(self.call(lambda storage: storage.collect(), seconds))

    def processes(self) -> Sequence[Process]:
        """The processes of what was collected last."""
        return self.call(lambda storage: storage.processes())

    def retire(self, instance: str) -> None:
        """An instance is gone for good."""
        self.call(lambda storage: storage.retire(instance))

    def close(self) -> None:
        """End the exporter process; the next call begins another one."""
        thread, storage = self._thread, self._storage
        self._thread = self._storage = None
        if thread is not None:
            try:
                if storage is not None:
                    thread.do(storage.close, DEADLINE_SECONDS)
            finally:
                thread.end()

    def totals(self) -> dict[str, float]:
        """The counters that this host sees of others, by name and labels, added up exactly."""
        return totals(self.collect())

    def gauges(self) -> dict[tuple[str, str], list[float]]:
        """The gauges that this host sees of others, by name and mode."""
        found: dict[tuple[str, str], list[float]] = {}
        for snapshot in self.collect():
            if snapshot.kind.startswith("gauge_"):
                for key, at in zip(snapshot.keys, snapshot.at, strict=True):
                    named = json.loads(key)[0], snapshot.kind.removeprefix("gauge_")
                    found.setdefault(named, []).append(snapshot.values[at])
        return {name: sorted(values) for name, values in found.items()}


def totals(snapshots: Sequence[Snapshot]) -> dict[str, float]:
    """Counters by name and labels, added up exactly."""
    sums: dict[str, Fraction] = {}
    for snapshot in snapshots:
        if snapshot.kind == "counter":
            for key, at in zip(snapshot.keys, snapshot.at, strict=True):
                _, name, labels, _ = json.loads(key)
                called = " ".join((name.removesuffix("_total"), *labels.values()))
                sums[called] = sums.get(called, Fraction()) + Fraction(snapshot.values[at])
    return {name: float(value) for name, value in sums.items()}


def _process(name: str) -> Process:
    role, _, number = name.rpartition("-")
    return Process(name, role, number, alive=True, pid=77, started=1000.5)


def width_of(snapshot: Snapshot) -> int:
    """How many doubles each key has: a value, and what else there is to know of it."""
    return 2 if snapshot.kind.startswith("gauge") or snapshot.removed else 1


def cells(snapshots: Sequence[Snapshot]) -> dict[tuple[str, str, bytes], bytes]:
    """Every value, and where it has one its time, bit by bit, by process, kind and key."""
    found = {}
    for one in snapshots:
        width = width_of(one)
        for key, at in zip(one.keys, one.at, strict=False):
            if at + width <= len(one.values):
                doubles = array("d", one.values[at : at + width])
                found[one.process.name, one.kind, key] = doubles.tobytes()
    return found


def descriptors() -> dict[str, str]:
    """The files, sockets and pipes that this process has open."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that the listing itself used
            continue
    return found
