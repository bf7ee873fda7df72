"""How many connections wait to be accepted, and how many can."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any

#: tcpi_unacked and tcpi_sacked, which for a socket that listens are the length of its queue and
#: the most that it can be: https://github.com/torvalds/linux/blob/v6.6/net/ipv4/tcp.c#L3771
_TCP_QUEUE = struct.Struct("24xII")

#: https://man7.org/linux/man-pages/man7/sock_diag.7.html
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
#: unix_diag_req: family, protocol, padding, states, inode, what to show, cookie.
_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UDIAG_SHOW_RQLEN = 0x10
_ANY = 0xFFFFFFFF
#: unix_diag_msg, after the header; attributes follow.
_UNIX_ANSWER_SIZE = 16
_ATTRIBUTE = struct.Struct("=HH")
_UNIX_DIAG_RQLEN = 4
_QUEUE = struct.Struct("=II")


def measure(listeners: Iterable[Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name, connections that wait and the most that can, of each of Gunicorn's listeners.

    Those that the system doesn't tell it of are left out.
    """
    for listener in listeners:
        sock: socket.socket = listener.sock
        # The system may know neither; what can't be known is nobody's trouble.
        with contextlib.suppress(OSError, struct.error):
            queue = _unix(sock) if sock.family == socket.AF_UNIX else _tcp(sock)
            if queue is not None:
                yield str(listener), queue


def _tcp(sock: socket.socket) -> tuple[int, int]:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_QUEUE.size)
    waiting, most = _TCP_QUEUE.unpack(info)
    return waiting, most


def _unix(sock: socket.socket) -> tuple[int, int] | None:
    inode = os.fstat(sock.fileno()).st_ino
    request = _UNIX_REQUEST.pack(
        socket.AF_UNIX, 0, 0, _ANY, inode & _ANY, _UDIAG_SHOW_RQLEN, _ANY, _ANY
    )
    size = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        # The kernel answers within the call of send; it has answered or never will.
        netlink.setblocking(False)
        netlink.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + request)
        answer = netlink.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None  # an error
    at = _HEADER.size + _UNIX_ANSWER_SIZE
    while at < len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _UNIX_DIAG_RQLEN:
            waiting, most = _QUEUE.unpack_from(answer, at + _ATTRIBUTE.size)
            return waiting, most
        at += (length + 3) & ~3
    return None
