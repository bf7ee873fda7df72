"""Bytes really read from a request's body, and really sent in its response."""

from __future__ import annotations

from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.body import LengthReader


class CountingReader:
    """Stands before a body's reader that keeps no account of its own, and keeps one."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        #: Bytes read so far, below zero: the same arithmetic as LengthReader's remaining length.
        self.length = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._reader.read(size)
        self.length -= len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def counted(body: Any) -> Any:
    """The reader of a request body, whose ``length`` falls by every byte that is read.

    A body of known length has such a reader already. For a body that Gunicorn
    reads in another way, nothing is counted.
    """
    reader = getattr(body, "reader", None)
    if type(reader) is LengthReader:
        return reader
    counting = CountingReader(reader)
    if reader is not None:
        body.reader = counting
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
