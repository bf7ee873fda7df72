"""Bytes really read from a request's body, and really sent in its response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gunicorn.http import wsgi

from . import _gunicorn


class CountingReader:
    """Stands before a body's reader that keeps no account of what it has read, and keeps one."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        #: Bytes read so far, below zero: the same arithmetic as LengthReader's remaining length.
        self.length = 0
        #: Bytes sent in the response that the response itself doesn't count.
        self.sent = 0

    def read(self, size: int | None = None) -> bytes:
        return self._took(self._reader.read(size))

    def _took(self, data: bytes) -> bytes:
        self.length -= len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


class CountingBody(CountingReader):
    """Stands before the body of a request in HTTP/2, which has no reader."""

    def readline(self, size: int | None = None) -> bytes:
        return self._took(self._reader.readline(size))

    def readlines(self, hint: int | None = None) -> list[bytes]:
        lines: list[bytes] = self._reader.readlines(hint)
        self._took(b"".join(lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def count_data(self, stream: Any) -> None:
        """Count what is sent in a stream of HTTP/2, for a response that doesn't count it."""
        send_data = stream.send_data

        def counting(data: bytes, end_stream: bool = False) -> Any:
            self.sent += len(data)
            return send_data(data, end_stream)

        stream.send_data = counting


def counted(req: Any) -> CountingReader:
    """What counts the body of a request that has one.

    Its ``length`` falls by every byte that is read.
    """
    body = req.body
    if body is None:
        return CountingReader(None)
    if hasattr(body, "reader"):
        body.reader = counting = CountingReader(body.reader)
        return counting
    req.body = counting = CountingBody(body)
    if not _gunicorn.HTTP2_RESPONSES_COUNT:
        counting.count_data(req.stream)
    return counting


def count_sendfile() -> None:
    """Make responses that are sent with ``sendfile`` account for their bytes in ``sent``.

    Gunicorn counts what passes through ``Response.write`` only. Called in a
    worker process as it begins; the class is replaced by a subclass where
    Gunicorn looks it up.
    """
    if not issubclass(wsgi.Response, _CountsSendfile):
        wsgi.Response = type("Response", (_CountsSendfile, wsgi.Response), {})


class _CountsSendfile:
    sent: int
    sock: Any

    def sendfile(self, respiter: Any) -> bool:
        sock = self.sock
        self.sock = counting = _CountingSocket(sock)
        try:
            done: bool = super().sendfile(respiter)  # type: ignore[misc]  # Response's
            return done
        finally:
            self.sock = sock
            self.sent += counting.sent


class _CountingSocket:
    """A socket that remembers what its ``sendfile`` sent, also when the client goes away."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.sent = 0

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        try:
            sent: int = self._sock.sendfile(file, offset, count)
        except OSError:
            # socket.sendfile leaves the file at the byte it has come to.
            self.sent += max(0, file.tell() - offset)
            raise
        self.sent += sent
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
