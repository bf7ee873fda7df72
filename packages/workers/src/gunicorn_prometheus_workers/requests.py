"""Recording requests: what every kind of worker calls as a request begins and as it ends.

A request costs about ten stores into mapped memory and nothing else: no system
call, no lock that another process could hold, nothing that could make a
greenlet or a coroutine yield. All methods may be called from any thread.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from time import perf_counter

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.recording import Page, Recorder, sample_keys
from gunicorn_prometheus_core.settings import Settings

from .counters import Counters, Failures, known, single
from .exemplars import Exemplars
from .labels import OTHER, Endpoints, excluding, method_label
from .natively import NativeDurations
from .queueing import Distribution, QueueTimes
from .routing import ERROR, Context, Resolver, Routes, everywhere, unknown

#: As integers, which compare faster with numbers of bytes.
_BYTES = tuple(map(int, catalogue.SIZE_BYTES))
#: What the documents of other servers call a request whose client went away unanswered.
CLIENT_GONE = 499


#: The cells of one method, endpoint and status: their page, and the positions of sum and buckets of
#: the duration, the bytes read and the bytes sent. A plain tuple, since every request unpacks one.
_Row = tuple[Page, int, tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]


class Requests:
    """What one worker process records of its requests."""

    def __init__(self, recorder: Recorder, settings: Settings) -> None:
        self._recorder = recorder
        self._lock = recorder.lock
        self._duration = _with_bounds(settings.duration_buckets)
        self._seconds = self._duration.buckets
        self._endpoints = Endpoints(
            settings.endpoint_limit,
            known(recorder, "histogram", catalogue.HTTP_REQUEST_SIZE, "endpoint"),
        )
        self._counters = Counters(recorder)
        self.trouble = self._counters.trouble
        self._failures = Failures(recorder, self._counters, self._endpoints, settings.label_limit)
        self._routes = Routes() if settings.endpoint == "route" else None
        self._find_route: Resolver = unknown if settings.endpoint == "path" else everywhere
        if self._routes is not None:
            self._find_route = self._routes.find
        self._queue = QueueTimes(recorder) if settings.queue_time else None
        self._exemplars = Exemplars(recorder) if settings.exemplars else None
        self._native = NativeDurations(recorder) if settings.native_histograms else None
        #: Tells of a path whether its requests are not to be recorded; None if all are.
        self.excluded = excluding(settings.excluded_paths)
        #: By method, route or path, and status as they come, for those that are their own labels.
        self._rows: dict[tuple[str, str, int], _Row] = {}
        gauge = single(recorder, "gauge_liveall", catalogue.WORKER_IN_PROGRESS)
        #: The lock's two ends, and the cell of the requests in progress. One tuple, since all
        #: requests unpack it: what is called as an attribute is looked for in the class first.
        self._held = recorder.lock.acquire, recorder.lock.release, gauge.page, gauge.at[0]
        self._folded = single(recorder, "counter", catalogue.EXPORTER_FOLDED, label="endpoint")

    def application_loaded(self) -> None:
        """The application has been loaded, and its framework with it."""
        if self._routes is not None:
            self._routes.discover()

    def begin(self) -> None:
        """A request has been read up to its body; it is in progress from now on. Never raises."""
        acquire, release, gauge, at = self._held
        acquire()
        try:
            gauge.view[at] += 1.0
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)
        finally:
            release()

    def end(
        self,
        method: str,
        path: str,
        status: int,
        started: float,
        read: int,
        sent: int,
        context: Context,
        error: BaseException | None = None,
    ) -> None:
        """A request that has begun is answered, failed or abandoned.

        ``started`` is what ``perf_counter`` said as it began, ``read`` and
        ``sent`` are bytes of the bodies of request and response, ``context``
        is its environ or scope, ``error`` what has ended it. Never raises.
        """
        elapsed = perf_counter() - started
        try:
            route = self._find_route(context)
        except Exception as defect:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(defect)
            route = None
        if error is not None or status >= 500:
            # What the framework has answered came first, if its answer failed as well.
            kind = context.get(ERROR) or (None if error is None else type(error))
            if kind is not None:
                self._failures.count(catalogue.WORKER_FAILED, method, path, status, kind, route)
        try:
            row = self._rows.get((method, path if route is None else route, status))
            if row is None:
                row = self._row(method, path, status, route)
            page, duration_sum, durations, read_sum, reads, sent_sum, sents = row
            bucket = durations[bisect_left(self._seconds, elapsed)]
            try:
                if self._queue is not None:
                    self._queue.observe(context, elapsed)
                if self._native is not None:
                    self._native.observe(duration_sum, elapsed)
                if self._exemplars is not None:
                    self._exemplars.observe(bucket, elapsed, started, context)
            except Exception as defect:  # noqa: BLE001  the border to the request; counted and logged
                self.trouble(defect)
            # The request itself comes last: whoever sees it counted sees all of it.
            acquire, release, gauge, at = self._held
            acquire()
            try:
                gauge.view[at] -= 1.0
                view = page.view
                if read:
                    view[read_sum] += read
                    view[reads[bisect_left(_BYTES, read)]] += 1.0
                else:
                    view[reads[0]] += 1.0
                view[sent_sum] += sent
                view[sents[bisect_left(_BYTES, sent)]] += 1.0
                view[duration_sum] += elapsed
                view[bucket] += 1.0
            finally:
                release()
        except Exception as defect:  # noqa: BLE001  the border to the request; counted and logged
            self.abandon()
            self.trouble(defect)

    def responding(self, context: Context) -> None:
        """The application begins to answer; a span of OpenTelemetry's is over when it has."""
        if self._exemplars is not None:
            try:
                self._exemplars.remember(context)
            except Exception as defect:  # noqa: BLE001  the border to the request
                self.trouble(defect)

    def distribution(self, family: catalogue.Family) -> Distribution:
        """A histogram without labels, to record into."""
        return Distribution(self._recorder, family)

    def abandon(self) -> None:
        """A request that has begun ends, and no more can be said of it. Never raises."""
        _, _, gauge, at = self._held
        try:
            with self._lock:
                gauge.view[at] -= 1.0
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)

    def failed(
        self, method: str, path: str, status: int, error: BaseException, context: Context
    ) -> None:
        """What is no request, or is answered already, has failed.

        ``status`` is what the client got to see.
        """
        self._count_failure(catalogue.WORKER_FAILED, method, path, status, error, context)

    def answered(
        self,
        method: str | None,
        path: str | None,
        status: int,
        error: BaseException,
        context: Context | None = None,
    ) -> None:
        """The worker has answered an error in the application's place.

        Method and path are None where the request could not be read so far.
        """
        if path is None or self.excluded is None or not self.excluded(path):
            self._count_failure(catalogue.WORKER_ERRORS, method, path, status, error, context)

    def websocket(self, path: str, outcome: str, context: Context) -> None:
        """A WebSocket was ``accepted``, ``rejected``, or ``failed`` before either."""
        # Who is rejected chooses the path, as who asks for what isn't there.
        status = 101 if outcome == "accepted" else 404
        try:
            endpoint = self._endpoints.label(path, status, self._find_route(context))
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)
            return
        labels = {"endpoint": endpoint, "outcome": outcome}
        self._counters.add("counter", catalogue.WORKER_WEBSOCKETS, labels, 1.0)

    def websocket_opened(self) -> None:
        """A WebSocket that was accepted is open from now on."""
        self._counters.add("gauge_liveall", catalogue.WORKER_WEBSOCKETS_OPEN, {}, 1.0)

    def websocket_closed(self) -> None:
        """A WebSocket that was open is closed."""
        self._counters.add("gauge_liveall", catalogue.WORKER_WEBSOCKETS_OPEN, {}, -1.0)

    def _count_failure(
        self,
        family: catalogue.Family,
        method: str | None,
        path: str | None,
        status: int,
        error: BaseException,
        context: Context | None,
    ) -> None:
        try:
            route = None if context is None else self._find_route(context)
        except Exception as defect:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(defect)
            route = None
        self._failures.count(family, method, path, status, type(error), route)

    def _row(self, method: str, path: str, status: int, route: str | None) -> _Row:
        method_text = method_label(method)
        endpoint = self._endpoints.label(path, status, route)
        row = self._rows.get((method_text, endpoint, status))
        if endpoint is OTHER:
            self._counters.count(self._folded)
        if row is None:
            self.application_loaded()  # of its framework perhaps only with its first request
            row = self._rows[method_text, endpoint, status] = self._placed(
                {"method": method_text, "endpoint": endpoint}, str(status)
            )
        if route == "":
            # So many strangers' requests get here that it pays to find the row at once.
            self._rows[method_text, "", status] = row
        return row

    def _placed(self, route: dict[str, str], status: str) -> _Row:
        duration = sample_keys(self._duration, {**route, "status": status})
        read = sample_keys(catalogue.HTTP_REQUEST_SIZE, route)
        sent = sample_keys(catalogue.HTTP_RESPONSE_SIZE, route)
        cells = self._recorder.cells("histogram", [*duration, *read, *sent])
        page, at = cells.page, cells.at
        first, second = len(duration), len(duration) + len(read)
        if self._exemplars is not None:
            self._exemplars.place(duration[1:], at[1:first])
        if self._native is not None:
            self._native.place(at[0], {**route, "status": status})
        return (
            *(page, at[0], at[1:first]),
            *(at[first], at[first + 1 : second]),
            *(at[second], at[second + 1 :]),
        )


def _with_bounds(bounds: tuple[float, ...]) -> catalogue.Family:
    """The durations with these bounds, and those that the documented family is summed up from."""
    if not bounds:
        return catalogue.HTTP_DURATION
    buckets = tuple(sorted({*bounds, *catalogue.COARSE_SECONDS}))
    return dataclasses.replace(catalogue.HTTP_DURATION, buckets=buckets)
