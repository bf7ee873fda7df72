"""HTTP/1.1 on one connection: requests in, answers out, until either side ends it."""

from __future__ import annotations

import http
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import h11

from .connection import Connection, let_others

Headers = list[tuple[bytes, bytes]]
#: Status, headers, body.
Answer = tuple[int, Headers, bytes]
#: Answers a request, given as ASGI's scope describes one: method, path, query_string, headers.
Application = Callable[[Mapping[str, Any]], Awaitable[Answer]]

PLAIN = (b"content-type", b"text/plain; charset=utf-8")

_MOST_HEADER_BYTES = 16 << 10
#: What a client has to take of an answer every second, at least, after its first moments.
_LEAST_BYTES_PER_SECOND = 64 << 10
#: A body up to this size goes out in one piece with the header.
_SMALL_BYTES = 16 << 10
#: What h11 repeats of a request in its messages: somebody's password may be in it.
_QUOTED = re.compile(r":? (bytearray\()?b['\"].*", re.DOTALL)


@dataclass(frozen=True)
class Patience:
    """Seconds that a client has.

    ``client`` for its handshake until the first request begins, for each
    request once it has begun, and to begin to take an answer; ``idle`` between
    two requests.
    """

    client: float
    idle: float = 120.0


class BadRequest(Exception):
    """The client doesn't speak HTTP as we do, and has been told so with this ``status``."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def converse(
    connection: Connection,
    application: Application,
    patience: Patience,
    sends: Callable[[bytes], None],
) -> None:
    """Answer requests until the client ends or may send no more.

    The time for the first one is running already. ``sends`` is told of every
    body before it is sent. Raises BadRequest, TooSlow, or OSError when the
    connection is gone.
    """
    http11 = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
    try:
        while (request := await _request(http11, connection, patience)) is not None:
            # We read no bodies: behind one we would not find the next request. Behind chunks, even
            # none, a proxy before us may find it elsewhere than we do (RFC 9112, 6.1).
            last = not isinstance(http11.next_event(), h11.EndOfMessage)
            last |= any(name == b"transfer-encoding" for name, _ in request.headers)
            answer = await application(_scope(request))
            sends(answer[2])
            head = request.method == b"HEAD"
            await _send(http11, connection, answer, patience, head=head, last=last)
            if last:
                return await connection.finish()
            if http11.our_state is not h11.DONE:
                return None
            http11.start_next_cycle()
            connection.allow(patience.idle, idle=True)
            await let_others()  # who sends requests ahead must not keep us for himself
    except h11.RemoteProtocolError as error:
        problem = _QUOTED.sub("", str(error))
        answer = error.error_status_hint, [PLAIN], f"{problem}\n".encode()
        if http11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await _send(http11, connection, answer, patience, last=True)
            await connection.finish()
        raise BadRequest(answer[0], problem) from None


async def _request(
    http11: h11.Connection, connection: Connection, patience: Patience
) -> h11.Request | None:
    """The next request, None if the client sends no more."""
    began = False
    while (event := http11.next_event()) is h11.NEED_DATA:
        data = await connection.receive()
        if not began:
            began = True
            connection.allow(patience.client)
        http11.receive_data(data)
    return event if isinstance(event, h11.Request) else None


def _scope(request: h11.Request) -> Mapping[str, Any]:
    target = request.target.decode("ascii")
    if not target.startswith("/"):  # http://host/path, as to a proxy
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    return {
        "method": request.method.decode("ascii"),
        "path": unquote(path),
        "query_string": query.encode("ascii"),
        "headers": list(request.headers),
    }


async def _send(
    http11: h11.Connection,
    connection: Connection,
    answer: Answer,
    patience: Patience,
    *,
    head: bool = False,
    last: bool = False,
) -> None:
    status, headers, body = answer
    fields = [(b"date", formatdate(time.time(), usegmt=True).encode()), *headers]
    if status != 304:  # where it would have to be that of the answer left out
        fields.append((b"content-length", str(len(body)).encode()))
    if last:
        fields.append((b"connection", b"close"))
    reason = http.HTTPStatus(status).phrase.encode()
    begin = http11.send(h11.Response(status_code=status, headers=fields, reason=reason)) or b""
    end = b"" if head else body
    http11.send(h11.Data(data=end))
    http11.send(h11.EndOfMessage())
    connection.allow(patience.client + len(end) / _LEAST_BYTES_PER_SECOND)
    if len(end) <= _SMALL_BYTES:
        await connection.send(begin + end)
    else:
        await connection.send(begin)
        await connection.send(end)
