"""The owners of slots, present and past, as readers see them."""

from __future__ import annotations

import os

from gunicorn_prometheus_core.storage import Process

from . import slots


class Owners:
    """Who owns the slots of a directory. Used by one thread at a time."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        #: Descriptor, device and inode of each slot's file.
        self._slots: dict[str, tuple[int, int, int]] = {}

    def look(self) -> list[Process]:
        """All owners as they are now. Call with the directory locked. Raises OSError."""
        return [self._process(name) for name in self._opened()]

    def close(self) -> None:
        """Let go of all files."""
        for fd, *_ in self._slots.values():
            os.close(fd)
        self._slots.clear()

    def _opened(self) -> list[str]:
        names = slots.names(self._directory)
        for name in self._slots.keys() | set(names):
            held = self._slots.get(name)
            try:
                status = os.stat(os.path.join(self._directory, name))
            except FileNotFoundError:
                status = None
            if held and (status is None or held[1:] != (status.st_dev, status.st_ino)):
                os.close(self._slots.pop(name)[0])
                held = None
            if held is None and status is not None:
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY | os.O_CLOEXEC)
                self._slots[name] = fd, status.st_dev, status.st_ino
        return [name for name in names if name in self._slots]

    def _process(self, file_name: str) -> Process:
        fd = self._slots[file_name][0]
        name = file_name.removesuffix(slots.SUFFIX)
        role, _, number = name.rpartition("-")
        alive = slots.is_owned(fd)
        noted = slots.facts(fd)
        return Process(
            name,
            role,
            number,
            alive,
            # Of another container it would be the pid of somebody else here.
            pid=noted.get("pid") if noted.get("pids") == slots.pid_namespace() else None,
            started=noted.get("started"),
            ended=None if alive else os.fstat(fd).st_mtime,
        )
