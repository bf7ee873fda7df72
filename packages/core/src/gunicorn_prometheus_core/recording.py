"""What a process records through, as its callers see it.

The implementation is storage-mmap's; workers, master and exporter know only
these protocols and find it by the entry point ``mmap`` of
``gunicorn_prometheus.storage``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client.utils import floatToGoString

from .catalogue import Family
from .settings import Settings
from .storage import Remark, Storage


class Page(Protocol):
    """The cells of one kind that this process records into.

    ``view`` is replaced when the page grows or the process forks, so read it
    anew, under the recorder's lock, for every group of stores.
    """

    @property
    def view(self) -> Any:
        """Something that holds doubles by position, such as ``memoryview(...).cast("d")``."""


@dataclass(frozen=True)
class Cells:
    """Places of a few doubles in one page. Positions never change."""

    page: Page
    at: tuple[int, ...]


class Lock(Protocol):
    """A lock of the ``threading`` module's kind."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...

    def __enter__(self) -> bool: ...

    def __exit__(self, *error: object) -> None: ...


class Recorder(Protocol):
    """Gives out cells. One per process; every method may be called from any thread."""

    #: Native and re-entrant. Hold it around load-add-store on ``page.view``.
    lock: Lock
    #: Where the slots are, "" while that isn't known.
    directory: str
    #: Role that a process forked from this one takes when it records before it is bound.
    fork_role: str

    @property
    def process(self) -> str:
        """Name of the slot this process owns (``worker-0``), or "" while it owns none."""

    def cells(self, kind: str, keys: Sequence[bytes]) -> Cells:
        """Places for these keys, made if they are new. Never raises for lack of space."""

    def remark(self, kind: str, key: bytes, remark: Remark) -> None:
        """Say something of a series, of one of the ``REMARK_KINDS``, in place of what was said.

        Never raises for lack of space.
        """

    def keys(self, kind: str) -> Sequence[bytes]:
        """Every key this process has a place for, its predecessors' in the slot included."""

    def bind(self, role: str) -> str:
        """Own a slot of that role from now on and return its name ("" if none can be had)."""

    def tick(self) -> None:
        """Mend what can be mended: call about once a second, never from a signal handler."""

    def note(self, **facts: Any) -> None:
        """Leave facts about this process for whoever looks at its slot after its end."""

    def close(self) -> None:
        """Give the slot up; what is recorded afterwards is kept in memory only."""


class Directory(Protocol):
    """A directory of pages, as the master handles it."""

    @property
    def path(self) -> str:
        """Absolute path."""

    def retire(self, pid: int) -> tuple[str, Mapping[str, Any]] | None:
        """The process of that pid has ended: number of its slot and the facts it left there.

        None if it never owned one. Marks the time of its end for readers.
        """

    def discard(self) -> None:
        """Remove the directory if it was made for this server only and nobody records in it."""


class Pages(Protocol):
    """What the entry point ``mmap`` of ``gunicorn_prometheus.storage`` gives."""

    def prepare(
        self, settings: Settings, *, uid: int, gid: int, inherited: str | None = None
    ) -> Directory:
        """Make the directory ready for a server whose workers run as ``uid:gid``."""

    def activate(
        self, directory: str | None = None, *, uid: int | None = None, gid: int | None = None
    ) -> Recorder:
        """Record from now on, prometheus_client's metrics included; in memory until it has a
        directory and is bound to a role.
        """

    def recorder(self) -> Recorder | None:
        """The recorder of this process, None before activation."""

    def open(self, settings: Settings, directory: str) -> Storage:
        """Read the pages of everybody, as a storage."""


def key(family: str, sample: str, labels: Mapping[str, str], help_text: str) -> bytes:
    """A key in the encoding of prometheus_client's multiprocess files (its ``mmap_key``)."""
    return json.dumps([family, sample, dict(labels), help_text], sort_keys=True).encode()


def sample_keys(family: Family, labels: Mapping[str, str]) -> list[bytes]:
    """The keys of one series of a recorded family.

    For a histogram: its sum first, then one per bucket in rising order, as
    prometheus_client names them; else the single value.
    """
    if family.type != "histogram":
        return [key(family.storage_name, family.sample_name, labels, family.help)]
    bounds = [*family.buckets, float("inf")]
    return [
        key(family.name, f"{family.name}_sum", labels, family.help),
        *(
            key(
                family.name,
                f"{family.name}_bucket",
                {**labels, "le": floatToGoString(bound)},
                family.help,
            )
            for bound in bounds
        ),
    ]


def count(recorder: Recorder, family: Family, amount: float = 1, **labels: str) -> None:
    """Add to a counter of ours. May be called from any thread."""
    cells = recorder.cells("counter", sample_keys(family, labels))
    with recorder.lock:
        cells.page.view[cells.at[0]] += amount
