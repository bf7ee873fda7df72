"""The entry point ``sqlite`` of ``gunicorn_prometheus.storage``."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

from gunicorn_prometheus_core import instances, parsing
from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.settings import Option, Settings
from gunicorn_prometheus_core.storage import (
    EXPIRES,
    KEPT_KINDS,
    REMARK_KINDS,
    REMARKS,
    REMOVALS,
    RETIRES,
    Process,
    Snapshot,
)

from . import stored
from .stored import Cell, Damaged

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    name TEXT PRIMARY KEY, seen REAL NOT NULL, retired INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS snapshots (
    instance TEXT NOT NULL REFERENCES instances (name) ON DELETE CASCADE,
    process TEXT NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL, cells BLOB NOT NULL,
    PRIMARY KEY (instance, process, kind));
"""
#: The instance that those become part of which have been retired for so long that they won't
#: come back.
_ARCHIVE, _ARCHIVED_SECONDS = "archive", 86_400.0
#: The names under which others see them, and what their sums lack.
_ARCHIVES = (_ARCHIVE, f"{_ARCHIVE}-rests")


class SqliteBackend:
    """See :class:`gunicorn_prometheus_core.storage.Backend`."""

    protocol = 1
    capabilities = frozenset({RETIRES, EXPIRES, REMARKS, REMOVALS})
    options = (
        Option(
            "path",
            "/var/tmp/gunicorn-metrics.sqlite",
            parsing.text("a path"),
            "The file, in a directory that all servers may write into.",
        ),
        Option(
            "ttl_seconds",
            300.0,
            parsing.seconds(0.5, 604_800),
            "A server that has published nothing for so long is taken for dead.",
        ),
    )

    def open(self, settings: Settings, directory: str) -> SqliteStorage:
        """The storage for the server whose pages are in ``directory``."""
        return SqliteStorage(settings, directory)


class SqliteStorage:
    """See :class:`gunicorn_prometheus_core.storage.Storage`.

    It opens the file anew each time: then it is no matter what has become of it meanwhile.
    """

    def __init__(self, settings: Settings, directory: str) -> None:
        self.instance = instances.name(settings, directory)
        self._path: str = settings.own["path"]
        self._ttl: float = settings.own["ttl_seconds"]
        self._patience = settings.storage_timeout_seconds
        self._processes: list[Process] = []

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Put our snapshots in place of those that are there."""
        rows = [
            (self.instance, one.process.name, one.kind, _facts(one.process), packed)
            for one in snapshots
            if (packed := stored.packed(one))
        ]
        with self._transaction() as database:
            database.execute("DELETE FROM snapshots WHERE instance = ?", [self.instance])
            database.execute(
                "REPLACE INTO instances VALUES (?, ?, FALSE)", [self.instance, time.time()]
            )
            database.executemany("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)", rows)
            for (silent,) in database.execute(
                "SELECT name FROM instances WHERE NOT retired AND seen < ?",
                [time.time() - self._ttl],
            ).fetchall():
                _retire(database, silent)
            _archive(database)

    def collect(self) -> Sequence[Snapshot]:
        """The snapshots of the living, and what is kept of all others, added up."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT instance, kind, facts, cells, retired "
                "FROM snapshots JOIN instances ON name = instance WHERE instance <> ?",
                [self.instance],
            ).fetchall()
            found: list[Snapshot] = []
            ended: dict[tuple[Process, str], list[tuple[bytes, Cell]]] = {}
            for instance, kind, facts, cells, retired in rows:
                process = Process(**json.loads(facts))
                if kind in REMARK_KINDS:
                    remarks = stored.unpack_remarks(cells)
                    found.append(stored.remark_snapshot(process, kind, remarks, instance))
                elif retired:
                    gone = Process(process.name, process.role, process.number, alive=False)
                    ended.setdefault((gone, kind), []).extend(stored.unpack(cells))
                else:
                    page = dict(stored.unpack(cells))
                    found.append(stored.snapshot(process, kind, page, instance))
        for (process, kind), all_cells in ended.items():
            for name, page in zip(_ARCHIVES, stored.kept(kind, all_cells), strict=False):
                found.append(stored.snapshot(process, kind, page, name))
        self._processes = list({(one.instance, one.process): one.process for one in found}.values())
        return found

    def processes(self) -> Sequence[Process]:
        """The processes of what was collected last."""
        return self._processes

    def retire(self, instance: str) -> None:
        """Keep the counts of an instance, and forget its live gauges."""
        with self._transaction() as database:
            _retire(database, instance or self.instance)

    def close(self) -> None:
        """Nothing is open."""

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is done as a whole or not at all."""
        try:
            with contextlib.closing(
                sqlite3.connect(self._path, timeout=self._patience, isolation_level=None)
            ) as database:
                database.execute("PRAGMA foreign_keys = ON")
                database.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                yield database
                database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageUnavailable(f"{self._path}: {error}") from error
        except (sqlite3.DatabaseError, Damaged) as error:
            # Whatever it is now, it is begun anew: everybody publishes everything again.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            raise StorageUnavailable(f"{self._path} was damaged: {error}") from error


def _facts(process: Process) -> str:
    """A process as it is stored. Its pid means nothing to others."""
    return json.dumps(asdict(replace(process, pid=None)))


def _retire(database: sqlite3.Connection, instance: str) -> None:
    marks = ", ".join("?" * len(KEPT_KINDS))
    database.execute(
        f"DELETE FROM snapshots WHERE instance = ? AND kind NOT IN ({marks})",
        [instance, *KEPT_KINDS],
    )
    database.execute("UPDATE instances SET retired = TRUE WHERE name = ?", [instance])


def _archive(database: sqlite3.Connection) -> None:
    """Make one of all that have been retired for long, so that they don't become more and more."""
    old = [_ARCHIVE, time.time() - _ARCHIVED_SECONDS]
    rows = database.execute(
        "SELECT process, kind, facts, cells FROM snapshots JOIN instances ON name = instance "
        "WHERE retired AND (name = ? OR seen < ?) ORDER BY seen",
        old,
    ).fetchall()
    gone = "SELECT count(*) FROM instances WHERE retired AND name <> ? AND seen < ?"
    if not database.execute(gone, old).fetchone()[0]:
        return
    ended: dict[tuple[str, str], tuple[str, list[tuple[bytes, Cell]]]] = {}
    for process, kind, facts, cells in rows:
        _, all_cells = ended.setdefault((process, kind), (facts, []))
        all_cells += stored.unpack(cells)
    database.execute("DELETE FROM instances WHERE retired AND (name = ? OR seen < ?)", old)
    database.execute("INSERT INTO instances VALUES (?, 0.0, TRUE)", [_ARCHIVE])
    database.executemany(
        "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)",
        [
            (_ARCHIVE, process, kind, facts, stored.pack(_together(kind, all_cells)))
            for (process, kind), (facts, all_cells) in ended.items()
        ],
    )


def _together(kind: str, cells: list[tuple[bytes, Cell]]) -> list[tuple[bytes, Cell]]:
    return [cell for page in stored.kept(kind, cells) for cell in page.items()]
