"""The storage protocol: what a backend author implements, and what is passed around.

Recording never touches a backend. Processes record into local pages; in the
exporter process a backend makes snapshots of those pages visible
(:meth:`Storage.publish`) and gives back the snapshots of everybody
(:meth:`Storage.collect`). A backend can therefore be slow, down or wrong
without a request noticing.

What is written here is what :mod:`gunicorn_prometheus_core.testing` tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .settings import Option, Settings

#: The version of this protocol. It changes when a backend that was right would not be any more.
PROTOCOL = 1

#: It keeps the counts of instances that are retired.
RETIRES = "retires"
#: It retires instances that have published nothing for long by itself.
EXPIRES = "expires"
#: It moves remarks: exemplars, and what Info and Enum say.
REMARKS = "remarks"
#: It moves what ``Snapshot.removed`` says, and the times it is about.
REMOVALS = "removals"
CAPABILITIES = frozenset({RETIRES, EXPIRES, REMARKS, REMOVALS})

#: Kinds of snapshot whose values are summed over processes, the dead included.
#: The others are ``gauge_<mode>`` with a mode of prometheus_client's Gauge.
SUMMED_KINDS = frozenset({"counter", "histogram", "summary", "native"})
#: The kind of the buckets of native histograms, which are not samples.
NATIVE = "native"

#: Kinds of snapshot that hold remarks: exemplars, and prometheus_client's Info and Enum.
EXEMPLAR, INFO, STATESET = "exemplar", "info", "stateset"
REMARK_KINDS = frozenset({EXEMPLAR, INFO, STATESET})

#: Kinds that stay when an instance is gone. Archived values of ``gauge_min``, ``gauge_max`` and
#: ``gauge_mostrecent`` are combined as the mode says; those of all other kinds are added up.
KEPT_KINDS = SUMMED_KINDS | {"gauge_sum", "gauge_min", "gauge_max", "gauge_mostrecent"}


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

    ``removed`` says whether a series was removed by its process at some time;
    None, that this is not known here. Where it is not None there are two
    doubles for each key, of whatever kind. The second of what is summed up is
    0.0 while the process has the series, the time since when it has it from a
    predecessor only, or minus the time of its removal; that of a gauge is
    negative once it is removed.

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


def for_backend(snapshots: Iterable[Snapshot], capabilities: frozenset[str]) -> list[Snapshot]:
    """Those that a backend with these capabilities is given to publish.

    Without :data:`REMARKS` it never sees the kinds that have no values.
    """
    takes_all = REMARKS in capabilities
    return [one for one in snapshots if takes_all or one.kind not in REMARK_KINDS]


class Storage(Protocol):
    """A place that snapshots are published to and collected from; what ``Backend.open`` gives.

    **Threads and processes.** Everything is called in the exporter process only, by the one thread
    that has called ``open``. No method may start waiting for another one; a thread of one's own is
    not needed. Nothing is inherited by a fork.

    **Time.** A method may wait, for at most ``settings.storage_timeout_seconds`` for each answer of
    the place. Requests don't wait for it, and a scrape goes without it.

    **Errors.** Trouble with the place itself is
    :class:`~gunicorn_prometheus_core.errors.StorageUnavailable`, raised ``from`` the cause; its
    message is one line for the operator, without secrets. The method is then called again, later,
    and has to work once the place does, without being opened anew. Every other exception is a
    defect of the backend: it is logged with its traceback once, and counted.

    **Units.** Values are as they were recorded, doubles without rounding; times are Unix times in
    seconds.

    This host's own values are always in its pages, which the backend ``mmap`` reads: publishing and
    retiring is nothing to do for it, and it collects what is this host's. Every other backend is
    shared by hosts and only moves snapshots between them.
    """

    @property
    def instance(self) -> str:
        """Name that others see this host's snapshots under; "" when nobody else sees them.

        No two hosts have the same one, however they are called. It belongs to the pages in
        ``directory``: whoever opens those goes on as the same instance
        (:func:`~gunicorn_prometheus_core.instances.name` does that). It never waits, and doesn't
        raise. It may change after a ``publish``, ``collect`` or ``retire``.
        """

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Make these values visible to other instances, all of them or, where it raises, none.

        They are absolute and take the place of what this instance has published before, so
        repeating it, after a lost reply say, does no harm. They are all that this host has: what
        was published before and is not among them is gone. Afterwards the instance lives, also
        one that was retired or taken for dead; nothing of it may count twice then.

        The snapshots are for looking at during the call. Their ``keys`` and ``at`` may grow
        meanwhile: what counts is what ``values`` has room for. A value may be any double: NaN,
        infinite, negative. Keys are bytes and may be anything.

        A backend with :data:`REMARKS` moves remarks as well; of what several processes of this
        instance have said of a series, the latest is enough. One without isn't given any. A backend
        with :data:`REMOVALS` moves both doubles of each key where ``removed`` is true, and says so
        of what others collect; elsewhere the second doubles of what is summed up need not be moved,
        and then None is what to say. One without always gives None there.
        """

    def collect(self) -> Sequence[Snapshot]:
        """The latest snapshots of all processes.

        Of a storage that hosts share: of all instances but this one, each with its instance's name,
        and the counts of those that are gone. No counter among them may fall, not by its last digit
        either, and none may be there twice or be missing while an instance is retired. The order
        means nothing. What it gives must not change afterwards, but for ``keys`` and ``at``, which
        may grow between two calls.
        """

    def processes(self) -> Sequence[Process]:
        """The processes whose snapshots ``collect`` gave last, alive and dead. Never waits."""

    def retire(self, instance: str) -> None:
        """An instance is gone for good: keep its counts, forget its live gauges.

        Of its kinds those in :data:`KEPT_KINDS` stay as they are and the others vanish, remarks
        included. With :data:`REMOVALS` the counts of a series that was removed stay in the sum, and
        the series stays removed; a gauge that was removed vanishes. What is added up is added up
        exactly, see :func:`~gunicorn_prometheus_core.gathering.sum_and_rest`, which may take two
        snapshots, of different names of instances. It may be this very instance,
        which "" means, too. Repeating it does no harm, and an instance that nobody knows is no
        error. A backend without :data:`RETIRES` raises NotImplementedError; it isn't called there.
        """

    def close(self) -> None:
        """Release everything; the object is not used again. What was published stays.

        Repeating it does no harm, and it doesn't raise. No descriptor and no thread is left.
        """


class Backend(Protocol):
    """A storage backend: what the entry points of ``gunicorn_prometheus.storage`` give.

    The entry point is called without arguments, in each process that looks at settings: the master
    of a server, the exporter process, the command. Its module is imported there, so it shouldn't
    import more than it needs to declare this; a client's library is for ``open`` to import.
    Importing, calling and looking at it has no effect and never waits.
    """

    @property
    def protocol(self) -> int:
        """The version of the protocol that it was written for, as a number: ``protocol = 1``.

        Not :data:`PROTOCOL`, which is what is installed. A backend for another version is refused.
        """

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can: some of :data:`CAPABILITIES`."""

    @property
    def options(self) -> Sequence[Option]:
        """Its own settings, if it has any; their values are in ``settings.own``, by name."""

    def open(self, settings: Settings, directory: str) -> Storage:
        """The storage for the host whose pages are in ``directory``, an existing one.

        Called by the thread that goes on to use it. Several may be open at a time, in one process
        and in several; one of them may be on the same directory. It need not reach the place yet.
        Raises SettingsError for settings that can't be used, and StorageUnavailable; it is then
        tried again.
        """
