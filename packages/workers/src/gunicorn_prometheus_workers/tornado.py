"""The worker on Tornado's event loop, for WSGI applications and Tornado's own."""

from __future__ import annotations

import sys
from asyncio import Future
from collections.abc import Awaitable
from time import perf_counter
from typing import Any

from . import _parts
from .mixin import PrometheusMixin
from .requests import CLIENT_GONE, Requests

with _parts.needed_for("PrometheusTornadoWorker", _parts.extra("tornado")):
    from gunicorn.workers.gtornado import TornadoWorker
    from tornado import httputil
    from tornado.httpserver import HTTPServer
    from tornado.web import Application, Finish
    from tornado.wsgi import WSGIContainer

#: Of these a native application has no environ that would tell.
_HEADERS = ("X-Request-Start", "X-Queue-Start", "Traceparent")


class PrometheusTornadoWorker(PrometheusMixin, TornadoWorker):
    """Gunicorn's Tornado worker with metrics.

    Nothing limits how many requests of a ``tornado.web.Application`` it
    handles at the same time; those of a WSGI application it handles one by one.
    """

    wsgi: Any
    _recording: RecordingApplication | None = None

    @property
    def capacity(self) -> int | None:
        return None

    def record_requests(self, requests: Requests) -> None:
        """Tornado calls none of Gunicorn's hooks."""
        self.wsgi = self._recording = RecordingApplication(self.wsgi, requests, self.log)

    def run(self) -> None:
        """Serve, and count also the requests that the end of the loop cuts off."""
        try:
            super().run()
        finally:
            if self._recording is not None:
                self._recording.end()


class RecordingApplication(WSGIContainer, httputil.HTTPServerConnectionDelegate):
    """What Tornado's server asks for delegates of requests, around a user's application.

    A WSGIContainer only because Gunicorn would make one of anything else.
    """

    def __init__(self, application: Any, requests: Requests, log: Any) -> None:
        if not isinstance(application, Application | WSGIContainer):
            application = AnsweringContainer(application, log)
        # Never listens; it knows how to ask an application of either sort for delegates.
        self._server = HTTPServer(application)
        self._requests = requests
        self._open: set[_Request] = set()

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """A request begins on a connection."""
        request = _Request(self._requests, request_conn, self._open)
        return _Delegate(request, self._server.start_request(server_conn, request))

    def end(self) -> None:
        """The loop has ended; requests that are still open get no answer."""
        for request in list(self._open):
            request.end()


class AnsweringContainer(WSGIContainer):
    """A container that answers 500 for an application that fails, where Tornado's answers nothing.

    Tornado's lets the client wait until it gives up.
    """

    def __init__(self, application: Any, log: Any) -> None:
        super().__init__(application)
        self._log_of_worker = log

    def environ(self, request: httputil.HTTPServerRequest) -> dict[str, Any]:
        environ = super().environ(request)
        assert isinstance(request.connection, _Request)
        request.connection.environ = environ
        return environ

    async def handle_request(self, request: httputil.HTTPServerRequest) -> None:
        try:
            await super().handle_request(request)
        except Exception:  # noqa: BLE001  logged with its traceback by the worker
            self._log_of_worker.exception("Error handling request %s", request.uri)
            assert isinstance(request.connection, _Request)
            request.connection.answer_error()


class _Delegate(httputil.HTTPMessageDelegate):
    """Sees a request come in."""

    def __init__(self, request: _Request, delegate: httputil.HTTPMessageDelegate) -> None:
        self._request = request
        self._delegate = delegate

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, httputil.RequestStartLine)
        self._request.begin(start_line, headers)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._request.read += len(chunk)
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
        self._request.end()


class _Request(httputil.HTTPConnection):
    """Stands before the connection of a request, and sees its response go out."""

    def __init__(self, requests: Requests, connection: Any, open_requests: set[_Request]) -> None:
        self._requests = requests
        self._connection = connection
        self.context = connection.context
        self._open = open_requests
        self._method = self._path = ""
        self._status = self._sent = 0
        self._started = 0.0
        self._answered: BaseException | None = None
        self._failure: BaseException | None = None
        #: What a WSGI application gets, or else only what we look for there.
        self.environ: dict[str, Any] = {}
        self._written: Future[None] | None = None
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def begin(self, line: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> None:
        self._method, self._path = line.method, line.path.partition("?")[0]
        if self._requests.excluded is not None and self._requests.excluded(self._path):
            return
        for name in _HEADERS:
            if name in headers:
                self.environ["HTTP_" + name.upper().replace("-", "_")] = headers[name]
        self._requests.begin()
        self._open.add(self)
        self._started = perf_counter()

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        assert isinstance(start_line, httputil.ResponseStartLine)
        # An application of WSGI may leave that to its server, and Tornado would end the connection.
        if self._method == "HEAD":
            chunk = None
        self._status = start_line.code
        self._requests.responding(self.environ)
        # Tornado answers for an application while it handles its exception.
        self._answered = sys.exc_info()[1]
        if start_line.code >= 500 and self._answered is not None:
            self._failure = self._answered
            self._requests.answered(
                *(self._method, self._path, self._status, self._answered, self.environ)
            )
        return self._wrote(self._connection.write_headers(start_line, headers, chunk), chunk)

    def write(self, chunk: bytes) -> Future[None]:
        return self._wrote(self._connection.write(chunk), chunk)

    def answer_error(self) -> None:
        """Answer in the application's place; the page is not counted as its response."""
        page = b"Internal Server Error"
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(page))}
        line = httputil.ResponseStartLine("HTTP/1.1", 500, "Internal Server Error")
        self.write_headers(line, httputil.HTTPHeaders(headers))
        if self._method != "HEAD":
            self._written = self._connection.write(page)
        self.finish()

    def _wrote(self, written: Future[None], chunk: bytes | None) -> Future[None]:
        self._written = written
        if chunk and not (written.done() and written.exception()):
            self._sent += len(chunk)
        return written

    def finish(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and error is not self._answered and not isinstance(error, Finish):
            self._failure = self._failure or error  # after the headers had been sent
        try:
            self._connection.finish()
        finally:
            if self._written is None or self._written.done():
                self.end()
            else:
                self._written.add_done_callback(self.end)

    def end(self, _: object = None) -> None:
        """The last byte has been written, or never will be."""
        if self in self._open:
            self._open.remove(self)
            about = self._method, self._path, self._status or CLIENT_GONE
            seen = self._started, self.read, self._sent
            self._requests.end(*about, *seen, self.environ, self._failure)
