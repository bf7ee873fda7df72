"""Recording an ASGI application, whatever serves it.

A coroutine of ours stands between the server and the application; it awaits
nothing but them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from .requests import CLIENT_GONE, Requests
from .routing import ERROR

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Whether the client of a request has gone away, as its server knows.
Gone = Callable[[Receive, Send], bool]

_NO_BODY = frozenset({204, 304})


class Application:
    """An application that records what it is asked, and otherwise is the one it is made from.

    For one event loop. ``client_gone`` tells from what the server has passed
    whether the client has gone, since servers let applications send on.
    """

    def __init__(
        self, application: Callable[..., Awaitable[None]], requests: Requests, client_gone: Gone
    ) -> None:
        self._application = application
        self._requests = requests
        self._excluded = requests.excluded
        self._client_gone = client_gone

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Called by the server, with a scope of whatever type."""
        kind = scope["type"]
        if kind == "lifespan" or (self._excluded is not None and self._excluded(_path(scope))):
            return self._application(scope, receive, send)
        if kind == "http":
            return self._http(scope, receive, send)
        if kind == "websocket":
            return self._websocket(scope, receive, send)
        return self._application(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(self._requests, scope, receive, send, self._client_gone)
        try:
            await self._application(scope, request.receive, request.send)
        except BaseException as error:
            request.fail(error)
            raise
        finally:
            request.end()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = _WebSocket(self._requests, scope, send)
        try:
            await self._application(scope, receive, connection.send)
        except BaseException as error:
            connection.fail(error)
            raise
        finally:
            connection.end()


class _Request:
    """One request, between the server and the application."""

    __slots__ = (
        *("_client_gone", "_ended", "_error", "_has_body", "_method", "_path", "_read"),
        *("_receive", "_requests", "_scope", "_send", "_sent", "_started", "_status"),
    )

    def __init__(
        self, requests: Requests, scope: Scope, receive: Receive, send: Send, client_gone: Gone
    ) -> None:
        self._requests = requests
        self._scope = scope
        self._error: BaseException | None = None
        self._method: str = scope["method"]
        self._path = _path(scope)
        self._receive, self._send = receive, send
        self._client_gone = client_gone
        self._ended = self._has_body = False
        self._status = self._read = self._sent = 0
        requests.begin()
        self._started = perf_counter()

    async def receive(self) -> Message:
        """The application asks for the next message."""
        message = await self._receive()
        body = message.get("body")
        if body:
            self._read += len(body)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """The application sends a message."""
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body"):
                return self._send_last(message)
            if self._has_body and not self._client_gone(self._receive, self._send):
                self._sent += len(message.get("body") or b"")
        elif kind == "http.response.start" and not self._status:
            self._status = status = message["status"]
            self._requests.responding(self._scope)
            # Servers drop what an application sends otherwise.
            self._has_body = self._method != "HEAD" and status not in _NO_BODY
        return self._send(message)

    async def _send_last(self, message: Message) -> None:
        await self._send(message)
        if self._has_body:
            self._sent += len(message.get("body") or b"")
        self.end()

    def fail(self, error: BaseException) -> None:
        """The application has raised an exception."""
        if self._ended:
            self._fail_afterwards(error)
            return
        self._error = error
        if not self._status:
            cancelled = isinstance(error, asyncio.CancelledError)
            if cancelled or self._client_gone(self._receive, self._send):
                self._status = CLIENT_GONE
            else:
                self._status = 500
                self._requests.answered(self._method, self._path, 500, error, self._scope)

    def _fail_afterwards(self, error: BaseException) -> None:
        """An exception after the response, unless it has been counted with that."""
        ended = not isinstance(error, Exception)  # its task was, after the response
        if not ended and not (self._status >= 500 and ERROR in self._scope):
            self._requests.failed(self._method, self._path, self._status, error, self._scope)

    def end(self) -> None:
        """The last byte has been sent, or never will be."""
        if not self._ended:
            self._ended = True
            self._requests.end(
                self._method,
                self._path,
                # A server answers 500 for an application that returns without an answer.
                self._status or 500,
                self._started,
                self._read,
                self._sent,
                self._scope,
                self._error,
            )


class _WebSocket:
    """One WebSocket, between the server and the application."""

    def __init__(self, requests: Requests, scope: Scope, send: Send) -> None:
        self._requests = requests
        self._scope = scope
        self._path = _path(scope)
        self._send = send
        self._outcome = ""

    def send(self, message: Message) -> Awaitable[None]:
        """The application sends a message."""
        if not self._outcome:
            if message["type"] == "websocket.accept":
                self._opened("accepted")
                self._requests.websocket_opened()
            elif message["type"] in ("websocket.close", "websocket.http.response.start"):
                self._opened("rejected")
        return self._send(message)

    def fail(self, error: BaseException) -> None:
        """The application has raised an exception."""
        status = 101 if self._outcome == "accepted" else 500
        self._requests.failed("GET", self._path, status, error, self._scope)
        if not self._outcome:
            self._opened("failed")

    def end(self) -> None:
        """The application has returned."""
        if self._outcome == "accepted":
            self._requests.websocket_closed()
        elif not self._outcome:
            self._opened("failed")

    def _opened(self, outcome: str) -> None:
        self._outcome = outcome
        self._requests.websocket(self._path, outcome, self._scope)


def _path(scope: Scope) -> str:
    """The path as the client sent it, as WSGI workers have it."""
    raw: bytes | None = scope.get("raw_path")
    if raw:
        return raw.partition(b"?")[0].decode("latin-1")
    path: str = scope["path"]
    return path
