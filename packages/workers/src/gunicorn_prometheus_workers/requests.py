"""Recording requests: what every kind of worker calls as a request begins and as it ends.

A request costs about ten stores into mapped memory and nothing else: no system
call, no lock that another process could hold, nothing that could make a
greenlet or a coroutine yield. All methods may be called from any thread.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from time import perf_counter

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Cells, Page, Recorder, sample_keys

from .labels import UNKNOWN, Endpoints, method_label

_SECONDS = catalogue.FINE_SECONDS
_BYTES = catalogue.SIZE_BYTES
#: What the documents of other servers call a request whose client went away unanswered.
CLIENT_GONE = 499


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

    def begin(self) -> None:
        """A request has been read up to its body; it is in progress from now on. Never raises."""
        page, at = self._in_progress
        self._acquire()
        try:
            page.view[at] += 1.0
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)
        finally:
            self._release()

    def end(
        self, method: str, path: str, status: int, started: float, read: int, sent: int
    ) -> None:
        """A request that has begun is answered, failed or abandoned.

        ``started`` is what ``perf_counter`` said as it began, ``read`` and
        ``sent`` are bytes of the bodies of request and response. Never raises.
        """
        elapsed = perf_counter() - started
        try:
            row = self._rows.get((method, path, status))
            if row is None:
                row = self._row(method, path, status)
            page, duration_sum, durations, read_sum, reads, sent_sum, sents = row
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
            self.abandon()
            self.trouble(error)

    def abandon(self) -> None:
        """A request that has begun ends, and no more can be said of it."""
        page, at = self._in_progress
        with self._lock:
            page.view[at] -= 1.0

    def failed(self, method: str, path: str, status: int, error: BaseException) -> None:
        """A request ended in an exception; ``status`` is what its client got to see."""
        self._count_error(catalogue.WORKER_FAILED, method, path, status, error)

    def answered(
        self, method: str | None, path: str | None, status: int, error: BaseException
    ) -> None:
        """The worker has answered an error in the application's place.

        Method and path are None where the request could not be read so far.
        """
        self._count_error(catalogue.WORKER_ERRORS, method, path, status, error)

    def websocket(self, path: str, outcome: str) -> None:
        """A WebSocket was ``accepted``, ``rejected``, or ``failed`` before either."""
        # Who is rejected chooses the path, as who asks for what isn't there.
        endpoint = self._endpoints.label(path, 101 if outcome == "accepted" else 404)
        labels = {"endpoint": endpoint, "outcome": outcome}
        self._add("counter", catalogue.WORKER_WEBSOCKETS, labels, 1.0)

    def websocket_opened(self) -> None:
        """A WebSocket that was accepted is open from now on."""
        self._add("gauge_liveall", catalogue.WORKER_WEBSOCKETS_OPEN, {}, 1.0)

    def websocket_closed(self) -> None:
        """A WebSocket that was open is closed."""
        self._add("gauge_liveall", catalogue.WORKER_WEBSOCKETS_OPEN, {}, -1.0)

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
        self._add("counter", family, labels, 1.0)

    def _add(
        self, kind: str, family: catalogue.Family, labels: dict[str, str], amount: float
    ) -> None:
        try:
            cells = self._recorder.cells(kind, sample_keys(family, labels))
            with self._lock:
                cells.page.view[cells.at[0]] += amount
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)

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

    def trouble(self, error: Exception) -> None:
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
