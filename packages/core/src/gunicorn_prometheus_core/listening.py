"""Addresses that metrics are served at, and the sockets that listen there."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_BACKLOG = 512
_UNIX = "unix:"


@dataclass(frozen=True)
class Address:
    """Where to listen: ``host`` and ``port``, or the ``path`` of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return _UNIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def addresses(text: str, port: int) -> tuple[Address, ...]:
    """``host``, ``host:port``, ``[IPv6]:port`` or ``unix:/path``, one or several with commas.

    ``port`` is that of addresses which have none. Raises ValueError.
    """
    found = tuple(_address(one.strip(), port) for one in text.split(","))
    if len(set(found)) < len(found):
        raise ValueError(text)
    return found


def _address(text: str, port: int) -> Address:
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not os.path.isabs(path):
            raise ValueError(text)
        return Address(path=path)
    if text.startswith("["):
        host, closed, after = text[1:].partition("]")
        if not closed or ":" not in host or not (after == "" or after.startswith(":")):
            raise ValueError(text)
        port_text = after[1:] if after else str(port)
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    else:
        host, port_text = text, str(port)
    if not host or not 1 <= int(port_text) <= 65535 or any(map(str.isspace, host)):
        raise ValueError(text)
    return Address(host, int(port_text))


def listen(
    wanted: Sequence[Address], existing: Iterable[socket.socket] = ()
) -> list[socket.socket]:
    """A listening socket for each address: one of those that there are, or a new one.

    Raises OSError, whose text names the address; then there are no new ones.
    """
    by_name = {_name(sock): sock for sock in existing}
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for address in wanted:
            try:
                family, name = _resolved(address)
                sock = by_name.get((family, _comparable(name)))
                if sock is None:
                    sock = undo.enter_context(_bound(family, name, wanted))
            except OSError as error:
                raise OSError(error.errno, f"{address}: {error.strerror or error}") from error
            sockets.append(sock)
        undo.pop_all()
    return sockets


def forget(sockets: Iterable[socket.socket]) -> None:
    """Close listening sockets for good: the files of unix sockets go as well."""
    for sock in sockets:
        path = sock.getsockname() if sock.family == socket.AF_UNIX else None
        sock.close()
        if isinstance(path, str) and path:
            with contextlib.suppress(OSError):
                os.unlink(path)


def url(sock: socket.socket, scheme: str) -> str:
    """Where the metrics are that a listening socket gives."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"{_UNIX}{name} ({scheme}://localhost/metrics)"
    return f"{scheme}://{Address(*name[:2])}/metrics"


def _resolved(address: Address) -> tuple[int, Any]:
    """Address family, and what to bind to."""
    if address.path:
        return socket.AF_UNIX, address.path
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, name = found[0]
    return family, name


def _name(sock: socket.socket) -> tuple[int, Any]:
    return sock.family, _comparable(sock.getsockname())


def _comparable(name: Any) -> Any:
    """Host and port, or the path. What else there is of an IPv6 address, the system may fill in."""
    return name if isinstance(name, (str, bytes)) else tuple(name[:2])


def _bound(family: int, name: Any, wanted: Sequence[Address]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_UNIX:
            _bind_file(sock, name)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # `::` alone takes IPv4 as well; beside an IPv4 address each takes its own.
                alone = all(":" in one.host for one in wanted if not one.path)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not alone)
            sock.bind(name)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_file(sock: socket.socket, path: str) -> None:
    """Bind to a path, in the place of a socket that nobody listens at any more."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            if (result := probe.connect_ex(path)) != errno.ECONNREFUSED:
                in_use = errno.EADDRINUSE if result in (0, errno.EAGAIN) else result
                raise OSError(in_use, os.strerror(in_use))
        os.unlink(path)
    # Owner and group may connect.
    before = os.umask(0o117)
    try:
        sock.bind(path)
    finally:
        os.umask(before)
