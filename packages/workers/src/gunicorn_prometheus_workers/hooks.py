"""Recording at Gunicorn's ``pre_request`` and ``post_request``, which most WSGI workers call."""

from __future__ import annotations

import errno
import sys
from time import perf_counter
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.errors import ParseException

from . import _gunicorn, exemplars, sizes
from .requests import CLIENT_GONE, Requests

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})
#: The status of a request whose connection the application has taken over, for WebSockets mostly.
_TAKEN_OVER = 101


def install(worker: Any, requests: Requests) -> None:
    """Record the requests of this worker, in its process, besides calling the user's hooks."""
    sizes.count_sendfile()
    if exemplars.TRACING in sys.modules:
        exemplars.note_traces(requests.trouble)
    begin, end = _hooks(requests)
    _gunicorn.add_hooks(worker.cfg, begin, end, debug=_gunicorn.logs_debug(worker.log))


def _hooks(requests: Requests) -> tuple[_gunicorn.Hook, _gunicorn.Hook]:
    """The two hooks. To be called from whatever thread or greenlet handles the request.

    They hold what they need themselves: a name of a function around is found sooner than an
    attribute that is called.
    """
    requests_begin, requests_end, excluded = requests.begin, requests.end, requests.excluded
    traced = exemplars.TRACING in sys.modules

    def pre_request(worker: Any, req: Any) -> None:
        """A request has been read up to its body."""
        try:
            if excluded is not None and excluded(req.path):
                return
            reader: Any = getattr(req.body, "reader", None)
            # A LengthReader counts what it has asked for, also if the client leaves before that.
            if type(reader) is not LengthReader or reader.length:
                reader = sizes.counted(req)
            requests_begin()
            req._gunicorn_prometheus = perf_counter(), reader, reader.length
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            requests.trouble(error)

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        """The request is answered, failed or abandoned."""
        try:
            started, reader, length = req._gunicorn_prometheus
        except AttributeError:
            return  # it has not begun
        try:
            failure = sys.exc_info()[1]
            if failure is None or _is_regular(failure):
                failure = None
                status = resp.status_code if resp.status else _TAKEN_OVER
            else:
                failure, status = _failure(failure, resp)
                # For handle_error, which comes next and isn't told.
                req._gunicorn_prometheus_environ = environ
            sent = resp.sent if resp is not None else 0
            if type(reader) is not LengthReader:
                sent += reader.sent
            read = length - reader.length
            if traced and (trace := getattr(req, "_gunicorn_prometheus_trace", None)):
                environ.setdefault(exemplars.TRACE, trace)
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            requests.abandon()
            requests.trouble(error)
            return
        requests_end(req.method, req.path, status, started, read, sent, environ, failure)

    return pre_request, post_request


def _failure(error: BaseException, resp: Any) -> tuple[BaseException, int]:
    """What made a request fail, and the status that its client sees."""
    if isinstance(error, StopIteration) and error.__context__ is not None:
        error = error.__context__
    if resp is not None and resp.headers_sent:
        return error, resp.status_code
    if isinstance(error, OSError) and error.errno in _GONE:
        return error, CLIENT_GONE
    return error, 400 if isinstance(error, ParseException) else 500


def _is_regular(error: BaseException) -> bool:
    """Whether Gunicorn only ends a connection by this exception.

    A failure after the headers had been sent ends it, too; that is the context then.
    """
    return isinstance(error, StopIteration) and error.__context__ is None
