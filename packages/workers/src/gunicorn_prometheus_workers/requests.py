"""Recording a request: the code that every request runs through.

``begin`` and ``end`` are called by Gunicorn as its ``pre_request`` and
``post_request`` hooks, from whatever thread handles the request. Between them
they do about ten stores into mapped memory and nothing else: no system call,
no lock that another process could hold.
"""

from __future__ import annotations

import errno
import json
import sys
from bisect import bisect_left
from time import perf_counter
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.http.errors import ParseException

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Cells, Page, Recorder, sample_keys

from .labels import UNKNOWN, Endpoints, method_label
from .sizes import counted

_SECONDS = catalogue.FINE_SECONDS
_BYTES = catalogue.SIZE_BYTES
#: What the documents of other servers call a request whose client went away unanswered.
CLIENT_GONE = 499
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})


#: The cells of one method, endpoint and status: their page, and the positions of sum and buckets of
#: the duration, the bytes read and the bytes sent. A plain tuple, since every request unpacks one.
_Row = tuple[Page, int, tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]


class Requests:
    """What one worker process records of its requests."""

    def __init__(self, recorder: Recorder, endpoint_limit: int) -> None:
        self._recorder = recorder
        self._lock = recorder.lock
        self._acquire, self._release = recorder.lock.acquire, recorder.lock.release
        self._endpoints = Endpoints(endpoint_limit, _known_endpoints(recorder))
        #: By method, path and status as they come, for those that are their own labels.
        self._rows: dict[tuple[str, str, int], _Row] = {}
        gauge = _single(recorder, "gauge_liveall", catalogue.WORKER_IN_PROGRESS)
        self._in_progress = gauge.page, gauge.at[0]
        self._errors = _single(recorder, "counter", catalogue.EXPORTER_RECORDING_ERRORS)
        self._complained = False

    def begin(self, worker: Any, req: Any) -> None:
        """``pre_request``: a request has been read up to its body."""
        try:
            reader: Any = getattr(req.body, "reader", None)
            if type(reader) is not LengthReader:
                reader = counted(req.body)
            page, at = self._in_progress
            self._acquire()
            try:
                page.view[at] += 1.0
            finally:
                self._release()
            req._gunicorn_prometheus = perf_counter(), reader, reader.length
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self._failed(error)

    def end(self, worker: Any, req: Any, environ: Any, resp: Any) -> None:
        """``post_request``: the request is answered, failed or abandoned."""
        now = perf_counter()
        try:
            started, reader, length = req._gunicorn_prometheus
        except AttributeError:
            return  # it has not begun
        try:
            failure = sys.exc_info()[1]
            status = resp.status_code if failure is None else self._fail(req, resp, failure)
            row = self._rows.get((req.method, req.path, status))
            if row is None:
                row = self._row(req.method, req.path, status)
            page, duration_sum, durations, read_sum, reads, sent_sum, sents = row
            elapsed = now - started
            read = length - reader.length
            sent = resp.sent if resp is not None else 0
            gauge, at = self._in_progress
            self._acquire()
            try:
                view = page.view
                view[durations[bisect_left(_SECONDS, elapsed)]] += 1.0
                view[duration_sum] += elapsed
                view[reads[bisect_left(_BYTES, read)]] += 1.0
                view[sents[bisect_left(_BYTES, sent)]] += 1.0
                if read:
                    view[read_sum] += read
                view[sent_sum] += sent
                gauge.view[at] -= 1.0
            finally:
                self._release()
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            gauge, at = self._in_progress
            with self._lock:
                gauge.view[at] -= 1.0  # what comes last above
            self._failed(error)

    def error(self, req: Any, answered: BaseException) -> None:
        """The worker answers an error in the application's place."""
        try:
            method, path = getattr(req, "method", None), getattr(req, "path", None)
            self._count_error(catalogue.WORKER_ERRORS, method, path, 500, answered)
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self._failed(error)

    def _fail(self, req: Any, resp: Any, error: BaseException) -> int:
        """Count a failed request and give the status its client sees."""
        if isinstance(error, StopIteration) and error.__context__ is not None:
            # How Gunicorn ends a request that failed after its headers were sent.
            error = error.__context__
        if resp is not None and resp.headers_sent:
            status: int = resp.status_code
        elif isinstance(error, OSError) and error.errno in _GONE:
            status = CLIENT_GONE
        else:
            status = 400 if isinstance(error, ParseException) else 500
        self._count_error(catalogue.WORKER_FAILED, req.method, req.path, status, error)
        return status

    def _count_error(
        self,
        family: catalogue.Family,
        method: str | None,
        path: str | None,
        status: int,
        error: BaseException,
    ) -> None:
        labels = {
            "method": method_label(method) if method else UNKNOWN,
            "endpoint": self._endpoints.label(path, status) if path else UNKNOWN,
            "error_type": type(error).__name__,
        }
        cells = self._recorder.cells("counter", sample_keys(family, labels))
        with self._lock:
            cells.page.view[cells.at[0]] += 1.0

    def _row(self, method: str, path: str, status: int) -> _Row:
        method_text = method_label(method)
        endpoint = self._endpoints.label(path, status)
        known = self._rows.get((method_text, endpoint, status))
        if known is not None:
            return known
        route = {"method": method_text, "endpoint": endpoint}
        duration = sample_keys(catalogue.HTTP_DURATION, {**route, "status": str(status)})
        read = sample_keys(catalogue.HTTP_REQUEST_SIZE, route)
        sent = sample_keys(catalogue.HTTP_RESPONSE_SIZE, route)
        page, at = _placed(self._recorder.cells("histogram", [*duration, *read, *sent]))
        first, second = len(duration), len(duration) + len(read)
        row = (
            *(page, at[0], at[1:first]),
            *(at[first], at[first + 1 : second]),
            *(at[second], at[second + 1 :]),
        )
        self._rows[method_text, endpoint, status] = row
        return row

    def _failed(self, error: Exception) -> None:
        """Count a defect of the recording, log the first, and let the request go on."""
        with self._lock:
            self._errors.page.view[self._errors.at[0]] += 1.0
        if not self._complained:
            self._complained = True
            log.error(
                "recording a request failed; further failures are only counted", exc_info=error
            )


def _placed(cells: Cells) -> tuple[Page, tuple[int, ...]]:
    return cells.page, cells.at


def _single(recorder: Recorder, kind: str, family: catalogue.Family) -> Cells:
    return recorder.cells(kind, sample_keys(family, {}))


def _known_endpoints(recorder: Recorder) -> set[str]:
    """The endpoints that former owners of our slot have recorded."""
    marker = json.dumps([catalogue.HTTP_REQUEST_SIZE.name])[:-1].encode()
    found = set()
    for key in recorder.keys("histogram"):
        if key.startswith(marker):
            found.add(json.loads(key)[2]["endpoint"])
    return found
