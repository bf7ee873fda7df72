"""The storage protocol: what a backend author implements, and what is passed around.

Recording never touches a backend. Processes record into local pages; in the
exporter process a backend makes snapshots of those pages visible
(:meth:`Storage.publish`) and gives back the snapshots of everybody
(:meth:`Storage.collect`). A backend can therefore be slow, down or wrong
without a request noticing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: Kinds of snapshot whose values are summed over processes, the dead included.
#: The others are ``gauge_<mode>`` with a mode of prometheus_client's Gauge.
SUMMED_KINDS = frozenset({"counter", "histogram", "summary", "native"})
#: The kind of the buckets of native histograms, which are not samples.
NATIVE = "native"

#: Kinds of snapshot that hold remarks: exemplars, and prometheus_client's Info and Enum.
EXEMPLAR, INFO, STATESET = "exemplar", "info", "stateset"
REMARK_KINDS = frozenset({EXEMPLAR, INFO, STATESET})


@dataclass(frozen=True)
class Process:
    """One recording process, alive or dead.

    ``name`` is unique within an instance: ``worker-0``, ``master-0``, or the
    pid of a process that records with prometheus_client's own page files.
    ``alive`` is None when that can't be known from here.
    """

    name: str
    role: str
    number: str
    alive: bool | None = None
    pid: int | None = None
    #: Unix time at which the process took its name, in seconds.
    started: float | None = None
    #: Unix time at which it is known to have ended, in seconds.
    ended: float | None = None


@dataclass(frozen=True)
class Remark:
    """What was said of a series last: labels, a value, and when (Unix time in seconds).

    An exemplar's labels and value are its own. Those of an Info are what it
    says; those of an Enum are its states, "1" for the present one and "0" for
    the others. Their value is 1.0, or 0.0 once the series was removed.
    """

    labels: Mapping[str, str]
    value: float
    time: float


def _none() -> Mapping[bytes, Remark]:
    return {}


@dataclass(frozen=True)
class Snapshot:
    """The values of one process and kind, as they are now.

    ``keys[i]`` is a key in the encoding of prometheus_client's multiprocess
    files (a JSON list of family name, sample name, labels, help). Its value is
    ``values[at[i]]``; for gauges ``values[at[i] + 1]`` is the time it was set,
    0.0 if that is not kept. ``at`` rises. ``values`` is a contiguous buffer of
    native doubles, and may change while it is looked at.

    ``keys`` and ``at`` are append-only: as long as a backend gives the same
    two objects, what they held before is unchanged, so what a reader derived
    from them stays valid and only the new tail has to be looked at. A change
    of any other sort needs new objects.

    ``removed`` says that a series was removed by its process at some time.
    Where it is not None, the second double of what is summed up has a meaning,
    too: 0.0 while the process has the series, the time since when it has it
    from a predecessor only, or minus the time of its removal.

    A snapshot of one of the ``REMARK_KINDS`` has no values but ``remarks``,
    which gives them by key, as they are when it is called.
    """

    process: Process
    kind: str
    keys: Sequence[bytes]
    at: Sequence[int]
    values: memoryview[Any]
    instance: str = ""
    removed: bool | None = None
    remarks: Callable[[], Mapping[bytes, Remark]] = _none


def latest(all_remarks: Iterable[Mapping[bytes, Remark]]) -> dict[bytes, Remark]:
    """What was said last of each series, over several processes or hosts."""
    found: dict[bytes, Remark] = {}
    for remarks in all_remarks:
        for key, remark in remarks.items():
            known = found.get(key)
            if known is None or known.time < remark.time:
                found[key] = remark
    return found


class Storage(Protocol):
    """A place that snapshots are published to and collected from.

    Used by one thread at a time, in the exporter process only. Trouble with
    the place itself is
    :class:`~gunicorn_prometheus_core.errors.StorageUnavailable`, raised
    ``from`` the cause; every other exception is a defect of the backend.

    This host's own values are always in its pages (the storage ``mmap``). A
    backend that is shared by hosts only moves snapshots between them.
    """

    @property
    def instance(self) -> str:
        """Name that others see this host's snapshots under; "" when nobody else sees them."""

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Make these absolute values visible. Idempotent: repeating it does no harm.

        The snapshots are all that this host has; what was published before and is not among
        them is gone. Their ``keys`` and ``at`` may grow meanwhile: what counts is what
        ``values`` has room for.
        """

    def collect(self) -> Sequence[Snapshot]:
        """The latest snapshots of all processes.

        Of a shared storage: of all instances but this one, each with its instance's name.
        """

    def processes(self) -> Sequence[Process]:
        """The processes whose snapshots ``collect`` gave last, alive and dead."""

    def retire(self, instance: str) -> None:
        """An instance is gone for good: keep its counts, forget its live gauges."""

    def close(self) -> None:
        """Release everything; the object is not used again."""
