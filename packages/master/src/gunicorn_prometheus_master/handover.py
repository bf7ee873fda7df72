"""What a server hands to the one that is to take its place, in a USR2 upgrade."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass

_DIRECTORY_VARIABLE = "GUNICORN_PROMETHEUS_DIRECTORY"
_SOCKETS_VARIABLE = "GUNICORN_PROMETHEUS_FD"


@dataclass(frozen=True)
class Handed:
    """The page directory, and the metrics sockets as inherited descriptors."""

    directory: str | None = None
    fds: tuple[int, ...] = ()


def take() -> Handed:
    """What the server before us has handed on. To be taken once: nobody whom we start may."""
    fds = os.environ.pop(_SOCKETS_VARIABLE, "").split(",")
    directory = os.environ.pop(_DIRECTORY_VARIABLE, None)
    # What is no descriptor is not by us, and must not end the start.
    return Handed(directory, tuple(int(fd) for fd in fds if fd.isdecimal()))


@contextlib.contextmanager
def handing(
    environ: MutableMapping[str, str], directory: str | None, listeners: Sequence[socket.socket]
) -> Iterator[None]:
    """Meanwhile a server that is executed with this environment can take these."""
    handed = {}
    if directory is not None:
        handed[_DIRECTORY_VARIABLE] = directory
    if listeners:
        handed[_SOCKETS_VARIABLE] = ",".join(str(one.fileno()) for one in listeners)
    for listener in listeners:
        listener.set_inheritable(True)
    environ.update(handed)
    try:
        yield
    finally:
        for name in handed:
            environ.pop(name, None)
        for listener in listeners:
            listener.set_inheritable(False)
