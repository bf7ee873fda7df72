"""Which run of which host this is, kept beside the pages that its counts are in.

An instance is a host's name and a run: a number that is as old as the counts
are, so that a new exporter process on the same pages goes on as the same
instance. When the instance was taken for dead and its counts were added to
the archive, it goes on as another one, less what the archive has of it: its
base.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Callable

from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_storage_mmap.directory import access_to

from . import counts, encoding
from .counts import Counts
from .incoming import read
from .names import sanitized

FILE = "redis.run"


class Run:
    """The run that a page directory belongs to. Used by one thread at a time."""

    def __init__(self, directory: str, name: str | None) -> None:
        self._path = os.path.join(directory, FILE)
        self._directory = directory
        self._host = sanitized(name or socket.gethostname())
        self._lock: int | None = None
        self._complained = False
        self._id, self._folds = uuid.uuid4().hex[:8], 0
        self.base: Counts = {}
        if not self.reload():
            self._save(os.link)

    @property
    def instance(self) -> str:
        """Name of the instance."""
        suffix = f".{self._folds}" if self._folds else ""
        return f"{self._host}-{self._id}{suffix}"

    def reload(self) -> bool:
        """Take over what is in the file; False when that is nothing new."""
        try:
            with open(self._path, "rb") as file:
                header, _, rest = file.read().partition(b"\n")
            facts = json.loads(header)
            run, folds, size = facts["run"], facts["folds"], facts["log"]
            doubles = rest[size:]
            chunks = encoding.chunks(doubles)
            state = encoding.state("", size, len(doubles) // 8, ())
            base = counts.of_archive(read(encoding.Stored(chunks, rest[:size], state)))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, encoding.Damaged) as error:
            self._complain("can't read %s: %s", self._path, error)
            return False
        if (run, folds) == (self._id, self._folds):
            return False
        self._id, self._folds, self.base = run, folds, base
        return True

    def go_on(self, folded: Counts) -> None:
        """The counts given have been added to the archive: go on as another instance."""
        counts.add_counts(self.base, folded)
        self._folds += 1
        self._save()

    def hold(self) -> bool:
        """Whether this process is the one that publishes; that is one of those on a directory.

        There are two while a server is upgraded (USR2) and when a sidecar is beside one.
        """
        if self._lock is None:
            try:
                fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                return True  # the pages are gone, and nobody else can have them
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            self._lock = fd
            self.reload()
        if not os.path.exists(self._path):
            self._save()  # somebody has removed the pages, which come back with our counts
        return True

    def close(self) -> None:
        """Let another process publish."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _save(self, put: Callable[[str, str], None] = os.replace) -> None:
        stored = counts.stored(self.base, ())
        facts = {"run": self._id, "folds": self._folds, "log": len(stored.log)}
        temporary = os.path.join(self._directory, f"{os.getpid()}.run.new")
        try:
            with open(temporary, "wb") as file:
                with contextlib.suppress(PermissionError):
                    access_to(self._directory).apply(file.fileno())
                file.write(json.dumps(facts).encode() + b"\n" + stored.log)
                file.writelines(stored.chunks.values())
            put(temporary, self._path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # still there after a link
        except FileExistsError:
            # Another exporter process has begun on the same pages at the same time.
            os.unlink(temporary)
            self.reload()
        except OSError as error:
            self._complain(
                "can't write %s: %s; an exporter process that is started anew will count twice",
                self._path,
                error,
            )

    def _complain(self, message: str, *details: object) -> None:
        if not self._complained:
            self._complained = True
            log.error(message, *details)
