"""Recording in gevent's own WSGI server, which calls none of Gunicorn's hooks."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from .requests import CLIENT_GONE, Requests
from .sizes import CountingBody


def recording(handler: Any, requests: Requests) -> Any:
    """A subclass of this handler of connections that records their requests."""

    class RecordingHandler(handler):
        """Its methods run in the greenlet of the connection, of which each has its own handler."""

        _failure: BaseException | None = None
        _sent = 0

        def get_environ(self) -> Any:
            self._environ = environ = super().get_environ()
            environ["wsgi.input"] = self._body = CountingBody(environ["wsgi.input"])
            return environ

        def handle_one_response(self) -> None:
            path = self.path.partition("?")[0]
            if requests.excluded is not None and requests.excluded(path):
                super().handle_one_response()
                return
            requests.begin()
            self.code, self._sent, self._failure = 0, 0, None
            started = perf_counter()
            try:
                super().handle_one_response()
            finally:
                # Bytes of headers or an error page are in response_length as well.
                status = abs(self.code) if self.response_length else CLIENT_GONE
                about = self.command, path, status
                # Of a body that ends too early gevent gives nothing to the application.
                read = max(-self._body.length, self._body.position)
                seen = started, read, self._sent
                requests.end(*about, *seen, self._environ, self._failure)

        def run_application(self) -> None:
            try:
                super().run_application()
            except BaseException as error:
                self._failure = error
                raise

        def write(self, data: bytes) -> None:
            super().write(data)
            if self._failure is None:
                self._sent += len(data)

        def handle_error(self, kind: Any, error: Any, traceback: Any) -> None:
            path = self.path.partition("?")[0]
            requests.answered(self.command, path, 500, error, self._environ)
            super().handle_error(kind, error, traceback)

        def _handle_client_error(self, error: BaseException) -> Any:
            requests.answered(None, None, 400, error)
            return super()._handle_client_error(error)

    return RecordingHandler
