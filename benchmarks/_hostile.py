"""Clients that nobody wants, and one that scrapes beside them; each for a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
_SCRAPES = 20
#: After so long a scraper gives up.
_PATIENCE = 2.0
#: And after so long a hostile client gives up to connect.
_PUSH = 0.02


def trusting() -> ssl.SSLContext:
    """A context for a client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def scrape(port: int) -> list[float | None]:
    """Seconds of scrapes one after the other, each on a new connection; None for one that failed.

    Two that fail in a row are enough.
    """
    seconds: list[float | None] = []
    context = trusting()
    while len(seconds) < _SCRAPES and seconds[-2:] != [None, None]:
        began = time.monotonic()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=_PATIENCE, context=context
        )
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.monotonic() - began if answer.status == 200 else None)
        except (OSError, http.client.HTTPException):
            seconds.append(None)
        finally:
            connection.close()
    return seconds


class Crowd:
    """Hostile clients of one sort, which do their part and then hold their connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._held: list[socket.socket] = []

    def _connect(self, number: int = 1) -> list[socket.socket]:
        for _ in range(number):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", self._port), _PUSH)
                sock.settimeout(_PATIENCE)
                self._held.append(sock)
        return self._held

    def _secure(self, number: int = 1) -> list[socket.socket]:
        plain = self._connect(number)
        self._held = []
        for sock in plain:
            with contextlib.suppress(OSError):
                self._held.append(trusting().wrap_socket(sock))
        return self._held

    def nobody(self) -> None:
        """For comparison."""

    def silent(self) -> None:
        """Connects, and says nothing."""
        self._connect()

    def fifty_silent(self) -> None:
        """So many of them."""
        self._connect(50)

    def five_hundred(self) -> None:
        """So many of them."""
        self._connect(500)

    def slow_request(self) -> None:
        """A few bytes of a request, and no more for now."""
        for sock in self._secure(20):
            sock.sendall(_REQUEST[:10])

    def slow_reader(self) -> None:
        """Asks, and takes nothing of the answer."""
        for sock in self._connect(20):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for sock in self._secure(0):
            with contextlib.suppress(OSError):
                sock.sendall(_REQUEST * 20)

    def large_request(self) -> None:
        """A megabyte of headers."""
        for sock in self._secure(5):
            with contextlib.suppress(OSError):
                sock.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X-Long: xxxxxxxx\r\n" * 60_000)

    def end(self) -> None:
        """Close all connections."""
        for sock in self._held:
            sock.close()


CROWDS: dict[str, Callable[[Crowd], None]] = {
    "nobody": Crowd.nobody,
    "one that connects and says nothing": Crowd.silent,
    "50 of those": Crowd.fifty_silent,
    "500 of those": Crowd.five_hundred,
    "20 that stop within a request": Crowd.slow_request,
    "20 that don't take their answers": Crowd.slow_reader,
    "5 with a megabyte of headers": Crowd.large_request,
}


def scrape_in_parallel(port: int, number: int, seconds: float) -> tuple[int, int]:
    """So many clients at once, scraping one after the other for so long; answers and failures."""
    return asyncio.run(_all(port, number, seconds))


async def _all(port: int, number: int, seconds: float) -> tuple[int, int]:
    deadline = time.monotonic() + seconds
    ended = await asyncio.gather(*(_client(port, deadline) for _ in range(number)))
    return sum(done for done, _ in ended), sum(failed for _, failed in ended)


async def _client(port: int, deadline: float) -> tuple[int, int]:
    done = failed = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < deadline:
        try:
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            done += 1
            failed += b" 200 " not in head.partition(b"\r\n")[0]
        except (OSError, asyncio.IncompleteReadError):
            failed += 1
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return done, failed
