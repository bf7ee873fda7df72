"""The entry point ``mmap`` of ``gunicorn_prometheus.storage``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.recording import sample_keys
from gunicorn_prometheus_core.settings import Option, Settings
from gunicorn_prometheus_core.storage import REMARKS, REMOVALS, Process, Snapshot

from . import directory as directories
from . import values
from .reader import Reader
from .recorder import Recorder

_active: Recorder | None = None


def _before_fork() -> None:
    if _active is not None:
        _active.lock.acquire()


def _after_fork_in_parent() -> None:
    if _active is not None:
        _active.lock.release()


def _after_fork_in_child() -> None:
    if _active is not None:
        _active.lock.release()
        _active.forked()


class MmapBackend:
    """See ``Pages`` of :mod:`gunicorn_prometheus_core.recording`, and ``Backend`` of ``storage``.

    Has no state of its own.
    """

    protocol = 1
    capabilities = frozenset({REMARKS, REMOVALS})
    options: Sequence[Option] = ()

    def prepare(
        self, settings: Settings, *, uid: int, gid: int, inherited: str | None = None
    ) -> directories.PageDirectory:
        """Make the directory ready; see :func:`.directory.prepare`."""
        return directories.prepare(settings, uid=uid, gid=gid, inherited=inherited)

    def activate(
        self, directory: str | None = None, *, uid: int | None = None, gid: int | None = None
    ) -> Recorder:
        """Record from now on, prometheus_client's metrics included.

        There is one recorder per process; a second call gives the same one.
        It keeps everything in memory until a directory is given, by the first
        call that has one, and a role is bound.
        """
        global _active
        if _active is not None and _active.directory:
            return _active
        # First, so that nothing is activated for a directory that is none.
        access = directories.access_to(directory, uid, gid) if directory is not None else None
        if _active is None:
            recorder = Recorder()
            values.install(recorder)
            os.register_at_fork(
                before=_before_fork,
                after_in_parent=_after_fork_in_parent,
                after_in_child=_after_fork_in_child,
            )
            _active = recorder
        if directory is not None and access is not None:
            _active.settle(directory, access)
        return _active

    def recorder(self) -> Recorder | None:
        """The recorder of this process, None before activation."""
        return _active

    def open(self, settings: Settings, directory: str) -> MmapStorage:
        """The pages of everybody in ``directory``."""
        return MmapStorage(directory)


class MmapStorage:
    """The pages of one host, read where they are: publishing is nothing to do."""

    instance = ""

    def __init__(self, directory: str) -> None:
        access = directories.access_to(directory) if os.access(directory, os.W_OK) else None
        self._reader = Reader(directory, access, self._count_quarantine)

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Nothing to do: the pages are visible as they are."""

    def collect(self) -> Sequence[Snapshot]:
        """A snapshot of each page."""
        return self._reader.collect()

    def processes(self) -> Sequence[Process]:
        """The owners of slots as of the last ``collect``."""
        return self._reader.processes()

    def retire(self, instance: str) -> None:
        """Nothing to do: there is one instance, and its pages are its archive."""

    def close(self) -> None:
        """Let go of all files."""
        self._reader.close()

    @staticmethod
    def _count_quarantine() -> None:
        if _active is not None:
            keys = sample_keys(catalogue.EXPORTER_QUARANTINED, {})
            cells = _active.cells("counter", keys)
            with _active.lock:
                cells.page.view[cells.at[0]] += 1
