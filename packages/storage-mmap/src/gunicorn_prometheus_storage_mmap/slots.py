"""Slots: names that a process owns while it lives.

A slot is a small file, ``<role>-<number>.slot``; owning it means holding
``flock`` on it. The kernel lets go of the lock at any death, also across
containers that share the directory, so ownership needs no cooperation from
the dead. Taking a slot and looking whether one is taken exclude each other by
a lock on the directory; nobody waits for that longer than a moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from .access import Access

SUFFIX = ".slot"
LOCK_NAME = "directory.lock"
_PATIENCE = 2.0
_FACTS_BYTES = 1024
_REMEMBERED = 8


@contextlib.contextmanager
def locked(directory: str, access: Access | None, *, shared: bool = False) -> Iterator[None]:
    """Hold the directory's lock. Raises TimeoutError when somebody sits on it, or OSError."""
    path = os.path.join(directory, LOCK_NAME)
    if access is None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if access is not None:
            with contextlib.suppress(PermissionError):
                access.apply(fd)
        _lock_within(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, _PATIENCE)
        yield
    finally:
        os.close(fd)


def _lock_within(fd: int, operation: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the lock of the page directory is held by another process for "
                    f"more than {seconds:g} s"
                ) from None
        time.sleep(0.002)


def pid_namespace() -> int:
    """Something that tells apart the containers in which the same pid is another process; or 0."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


class Slot:
    """A slot that this process owns."""

    def __init__(self, role: str, number: int, fd: int) -> None:
        self.name = f"{role}-{number}"
        self.number = str(number)
        self._fd = fd
        self._facts: dict[str, Any] = {
            "pid": os.getpid(),
            "pids": pid_namespace(),
            "started": time.time(),
            "before": _predecessors(facts(fd)),
        }
        self.note()

    def note(self, **facts: Any) -> None:
        """Leave facts for whoever looks, also after our end. Raises OSError."""
        self._facts.update(facts)
        text = json.dumps(self._facts).encode().ljust(_FACTS_BYTES)
        os.pwrite(self._fd, text, 0)

    def is_lost(self, directory: str) -> bool:
        """Whether the file we hold is no longer the slot's, because somebody removed it."""
        try:
            status = os.stat(os.path.join(directory, self.name + SUFFIX))
        except OSError:
            return True
        return not os.path.samestat(status, os.fstat(self._fd))

    def drop(self) -> None:
        """Close our descriptor; the lock goes with its last one, so a fork's parent keeps it."""
        os.close(self._fd)


def claim(directory: str, role: str, access: Access, first: int = 0) -> Slot:
    """Own the lowest free slot of a role, from a number on.

    Call with the directory locked. Raises OSError.
    """
    for number in count(first):
        path = os.path.join(directory, f"{role}-{number}{SUFFIX}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            access.apply(fd)
            return Slot(role, number, fd)
        except BlockingIOError:
            os.close(fd)
        except BaseException:
            os.close(fd)
            raise
    raise AssertionError("unreachable")


def _predecessors(left: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The last owners of a slot and what they left, the latest first.

    A successor can be there before anybody has looked at how its predecessor ended.
    """
    before = list(left.get("before", ()))
    latest = {name: left[name] for name in ("pid", "pids", "exit") if name in left}
    return [latest, *before][:_REMEMBERED] if latest else before


def left_by(pid: int, left: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the owner of that pid left, given a slot's facts; None if it wasn't among the last.

    In another container that is another process.
    """
    owners, ours = (left, *left.get("before", ())), pid_namespace()
    return next(
        (one for one in owners if one.get("pid") == pid and one.get("pids", ours) == ours), None
    )


def is_owned(fd: int) -> bool:
    """Whether a process owns the slot of this descriptor. Call with the directory locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def facts(fd: int) -> Mapping[str, Any]:
    """What a slot's owner left; empty when it is unreadable."""
    try:
        noted = json.loads(os.pread(fd, _FACTS_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def names(directory: str) -> list[str]:
    """File names of all slots, sorted. Raises OSError."""
    return sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX))


def anybody(directory: str) -> bool:
    """Whether any process owns a slot. Call with the directory locked. Raises OSError."""
    for name in names(directory):
        fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if is_owned(fd):
                return True
        finally:
            os.close(fd)
    return False
