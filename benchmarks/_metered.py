"""An application with metrics of its own: requests and their duration by endpoint."""

import time

from prometheus_client import Counter, Histogram

BODY = b"Hello, world!\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
REQUESTS = Counter("app_requests", "Requests", ["endpoint"])
SECONDS = Histogram("app_request_seconds", "Duration of requests", ["endpoint"])


def app(environ, start_response):
    began = time.perf_counter()
    endpoint = environ["PATH_INFO"]
    start_response("200 OK", HEADERS)
    REQUESTS.labels(endpoint).inc()
    SECONDS.labels(endpoint).observe(time.perf_counter() - began)
    return [BODY]
