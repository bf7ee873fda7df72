"""Which trace a request belongs to, as an exemplar of its duration.

A client says so in the header ``traceparent`` (https://www.w3.org/TR/trace-context/),
and what a stranger says there is taken for a trace only if it is one that is
sampled, and so can be found. Where the application has loaded OpenTelemetry,
the span that it is in tells.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from gunicorn.http import wsgi

from gunicorn_prometheus_core.recording import Recorder
from gunicorn_prometheus_core.storage import EXEMPLAR, Remark

from .routing import Context

#: Where an application, or what stands around it, says of which trace a request is.
TRACE = "gunicorn_prometheus.trace"
#: A bucket gets another exemplar no sooner than this. Scrapes are further apart.
_REST_SECONDS = 1.0

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile("[0-9a-f]{32}")
_SAMPLED = 1
#: Only if somebody else has loaded it: it is none of our dependencies.
TRACING = "opentelemetry.trace"


def trace_in(traceparent: str) -> str | None:
    """The id of a sampled trace that a header names; None for anything else."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(flags, 16) & _SAMPLED or not int(parent, 16):
        return None
    return trace if int(trace, 16) else None


def current_trace() -> str | None:
    """The id of the sampled trace that OpenTelemetry is in here; None if it is in none."""
    api: Any = sys.modules.get(TRACING)
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags & _SAMPLED:
        return None
    return f"{context.trace_id:032x}"


def trace_of(context: Context) -> str | None:
    """The trace of a request, given its environ or scope."""
    said = context.get(TRACE)
    if said is not None:
        return said if isinstance(said, str) and _TRACE_ID.fullmatch(said) else None
    header = context.get("HTTP_TRACEPARENT")
    if header is None and "headers" in context:
        for name, value in context["headers"]:
            if name == b"traceparent":
                header = value.decode("latin-1")
                break
    trace = None if header is None else trace_in(header)
    return current_trace() if trace is None else trace


def note_traces(trouble: Callable[[Exception], None]) -> None:
    """Let Gunicorn's responses note in ``req`` which trace OpenTelemetry is in as they begin.

    Its span is over when the request is. Called in a worker process as it begins, if OpenTelemetry
    has been loaded; the class is replaced by a subclass where Gunicorn looks it up.
    """
    if not issubclass(wsgi.Response, _NotesTrace):
        more = {"trouble": staticmethod(trouble)}
        wsgi.Response = type("Response", (_NotesTrace, wsgi.Response), more)


class _NotesTrace:
    req: Any
    trouble: Callable[[Exception], None]

    def start_response(self, *args: Any) -> Any:
        try:
            self.req._gunicorn_prometheus_trace = current_trace()
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)
        return super().start_response(*args)  # type: ignore[misc]  # Response's


class Exemplars:
    """Records exemplars of durations. For any thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._keys: dict[int, bytes] = {}
        self._due: dict[int, float] = {}

    def place(self, keys: Sequence[bytes], at: Sequence[int]) -> None:
        """Learn which buckets are at these positions."""
        self._keys.update(zip(at, keys, strict=True))

    def remember(self, context: MutableMapping[str, Any]) -> None:
        """Note the trace that OpenTelemetry is in, while the application is at the request."""
        if TRACING in sys.modules and (trace := current_trace()) is not None:
            context.setdefault(TRACE, trace)

    def observe(self, at: int, seconds: float, started: float, context: Context) -> None:
        """A request of that duration was counted in the bucket at this position.

        ``started`` is what ``perf_counter`` said.
        """
        # Most requests belong to no trace, and end here.
        if (
            TRACE not in context
            and "HTTP_TRACEPARENT" not in context
            and "headers" not in context
            and TRACING not in sys.modules
        ):
            return
        ended = started + seconds
        if ended < self._due.get(at, 0.0):
            return
        trace = trace_of(context)
        if trace is not None:
            self._due[at] = ended + _REST_SECONDS
            remark = Remark({"trace_id": trace}, seconds, time.time())
            self._recorder.remark(EXEMPLAR, self._keys[at], remark)
