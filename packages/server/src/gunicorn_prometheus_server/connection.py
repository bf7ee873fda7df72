"""A client's socket, plain or TLS, that never blocks and never waits past a deadline.

The sockets are the system's own, without asyncio's transports: those take a
copy of what they send, and for TLS a buffer of 256 KiB per connection
(https://github.com/python/cpython/blob/3.11/Lib/asyncio/sslproto.py), which
many idle clients would multiply.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from gunicorn_prometheus_core.errors import reason

_CHUNK = 1 << 16
_LINGER_SECONDS = 2.0
_NOT_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"this port speaks TLS; use https\n"
)

T = TypeVar("T")


class TooSlow(Exception):
    """The client has not done its part in time."""


class HandshakeFailed(Exception):
    """No TLS connection came about; says why."""


class Connection:
    """Used by one task of the event loop.

    ``since`` is when the client's present time limit began, by the loop's
    clock, and ``waits`` whether it is the client that we wait for now.
    Methods raise OSError when the connection is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._fd = sock.fileno()
        self._deadline = self.since = self._loop.time()
        self.waits = False
        #: Whether it has its answer and may, but need not, ask again.
        self.idle = False
        #: What is being sent, or could not be; b"" otherwise.
        self.sending: bytes = b""

    def allow(self, seconds: float, *, idle: bool = False) -> None:
        """The client has that long, from now on, for what comes next."""
        self.since = self._loop.time()
        self._deadline = self.since + seconds
        self.idle = idle

    async def handshake(self, context: ssl.SSLContext) -> None:
        """Begin to speak TLS."""
        sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock = sock
        try:
            await self._done(sock.do_handshake)
        except ssl.SSLEOFError:
            raise ConnectionResetError from None  # it only looked whether somebody is there
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                # Below TLS, for whoever has written http:// for https://.
                with contextlib.suppress(OSError):
                    socket.socket.send(sock, _NOT_TLS)
                await self.finish()
            raise HandshakeFailed(error.reason or reason(error)) from error

    def names(self) -> frozenset[str]:
        """The alternative names in the client's certificate, none without one."""
        assert isinstance(self._sock, ssl.SSLSocket)
        certificate: dict[str, Any] = self._sock.getpeercert() or {}
        return frozenset(_written(*name) for name in certificate.get("subjectAltName", ()))

    async def receive(self) -> bytes:
        """Some bytes, b"" at the end."""
        return await self._done(self._sock.recv, _CHUNK)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sending = data
        rest = memoryview(data)
        sent = 0
        while sent < len(data):
            sent += await self._done(self._sock.send, rest[sent : sent + _CHUNK])
        self.sending = b""

    async def finish(self) -> None:
        """End what we send, and wait a moment for the client to end as well.

        To close while something that it has sent is not read would reset the
        connection, and could take our answer away.
        """
        self.allow(_LINGER_SECONDS)
        self._end_tls()
        with contextlib.suppress(OSError, TooSlow):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
            while await self._done(socket.socket.recv, self._sock, _CHUNK):
                if self._loop.time() > self._deadline:
                    break
                await let_others()

    def close(self) -> None:
        """Close it. Never waits."""
        self._end_tls()
        self._sock.close()

    def _end_tls(self) -> None:
        """Say that nothing is missing at the end, without waiting for the client to say so."""
        if isinstance(self._sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()

    async def _done(self, call: Callable[..., T], *arguments: Any) -> T:
        """Repeat a call until the socket is ready for it."""
        while True:
            try:
                return call(*arguments)
            except (BlockingIOError, ssl.SSLWantReadError) as error:
                writing = isinstance(error, BlockingIOError) and self.sending
                await self._ready(self._loop.add_writer if writing else self._loop.add_reader)
            except ssl.SSLWantWriteError:
                await self._ready(self._loop.add_writer)

    async def _ready(self, watch: Callable[..., object]) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        expire = self._loop.call_at(self._deadline, _resolve, ready, TooSlow())
        watch(self._fd, _resolve, ready)
        self.waits = True
        try:
            await ready
        finally:
            self.waits = False
            expire.cancel()
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)


def _written(kind: str, name: Any) -> Any:
    """A name in a certificate as people write it: Python gives IPv6 addresses in full length."""
    if kind == "IP Address":
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(name.strip()))
    return name


async def let_others() -> None:
    """Give everybody else a turn, which who never has to wait for a socket doesn't otherwise."""
    await asyncio.sleep(0)


async def accept(listener: socket.socket) -> socket.socket:
    """The next client's socket. Raises OSError when it can't be had.

    Not by the loop's `sock_accept`, which loses a client that has come when it
    is cancelled: here waiting can be cancelled, and taking the client can't.
    """
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return listener.accept()[0]
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(listener, _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_reader(listener)


def _resolve(future: asyncio.Future[None], error: Exception | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
