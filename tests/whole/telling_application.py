"""An application whose metrics say more than numbers."""

from __future__ import annotations

import contextlib
import os

from prometheus_client import Counter, Enum, Gauge, Histogram, Info

BUILD = Info("app_build", "What runs here")
BUILD.info({"version": "1.2.3"})
PHASE = Enum("app_phase", "What it is at", states=["starting", "running", "draining"])
JOBS = Counter("app_jobs", "Jobs done", ["queue"])
TOOK = Histogram("app_took_seconds", "Time taken", ["queue"], buckets=[1, 2])
OPEN = Gauge("app_open_files", "Files open", multiprocess_mode="livesum")
OPEN.set_function(lambda: 7)


def application(environ, start_response):
    what, _, queue = environ["PATH_INFO"].strip("/").partition("/")
    if what == "phase":
        PHASE.state(queue)
    elif what == "job":
        trace = environ["QUERY_STRING"]
        JOBS.labels(queue).inc(1, exemplar={"trace_id": trace} if trace else None)
        TOOK.labels(queue).observe(1.5, exemplar={"trace_id": trace} if trace else None)
    elif what == "remove":
        with contextlib.suppress(KeyError):  # older clients raise it when there is nothing
            JOBS.remove(queue)
            TOOK.remove(queue)
    elif what == "clear":
        JOBS.clear()
        TOOK.clear()
    body = b"pong" if what == "ping" else str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
