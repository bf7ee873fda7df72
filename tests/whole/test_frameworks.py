"""Applications of many frameworks with the same twelve routes: the same is counted for all."""

from __future__ import annotations

import dataclasses
import http.client
import socket
from collections import Counter

import pytest
from gunicorn import version_info

FINE = "gunicorn_http_request_duration_seconds"
READ, SENT = "gunicorn_http_request_size_bytes_sum", "gunicorn_http_response_size_bytes_sum"
FAILED = "gunicorn_worker_failed_requests"
#: What is counted of a client that leaves is its server's, not the framework's.
STREAMED, SECONDS = len(b"one, two, three"), 0.2
GONE = {"BrokenPipeError", "ConnectionResetError", "CancelledError"}


@dataclasses.dataclass(frozen=True)
class Framework:
    """One framework: its application, and how it writes the routes that have parameters."""

    name: str
    app: str
    workers: tuple[str, ...]
    user: str
    order: str
    #: Whether it answers exceptions of the application itself, instead of leaving that to Gunicorn.
    answers_errors: bool = True


WSGI, ASGI = ("sync", "gthread", "gevent"), ("asgi", "uvicorn")
EVERYWHERE = (*WSGI, "gevent_pywsgi", "eventlet", "tornado")
FLASKS = "/users/<int:number>", "/users/<int:number>/orders/<order>"
BRACES = "/users/{number}", "/users/{number}/orders/{order}"
TYPED = "/users/{number:int}", "/users/{number:int}/orders/{order}"
FRAMEWORKS = [
    Framework("flask", "flask_app:app", EVERYWHERE, *FLASKS),
    Framework("django", "django_app:app", WSGI, *FLASKS),
    Framework("pyramid", "pyramid_app:app", WSGI, *BRACES, answers_errors=False),
    Framework("falcon", "falcon_app:app", WSGI, *TYPED),
    Framework(
        "bottle",
        "bottle_app:app",
        WSGI,
        "/users/<number:int>",
        "/users/<number:int>/orders/<order>",
    ),
    Framework("starlette", "starlette_app:app", ASGI, *BRACES),
    Framework("fastapi", "fastapi_app:app", ASGI, *BRACES),
    Framework("django_asgi", "django_app:asgi", ASGI, *FLASKS),
    Framework("falcon_asgi", "falcon_app:asgi", ASGI, *TYPED),
    Framework("quart", "quart_app:app", ASGI, *FLASKS),
    Framework("litestar", "litestar_app:app", ASGI, *BRACES),
]
CASES = [
    pytest.param(framework, worker, id=f"{framework.name}-{worker}")
    for framework in FRAMEWORKS
    for worker in framework.workers
    if worker != "asgi" or version_info >= (24,)
]

#: Method, path, body, and what must come out: endpoint (None: that of a user or an order) and
#: status; ``times`` of each.
REQUESTS = [
    ("GET", "/users/{n}", None, "user", "200"),
    ("GET", "/users/{n}/orders/a-{n}", None, "order", "200"),
    ("GET", "/users/0", None, "user", "404"),
    ("GET", "/nowhere/{n}", None, "_unmatched_", "404"),
    ("POST", "/redirect", b"x" * 100, "_unmatched_", "405"),
    ("GET", "/handled", None, "/handled", "409"),
    ("GET", "/fails", None, "/fails", "500"),
    ("GET", "/redirect", None, "/redirect", "302"),
    ("GET", "/stream", None, "/stream", "200"),
    ("POST", "/upload", b"x" * 5000, "/upload", "200"),
    ("GET", "/download", None, "/download", "200"),
    ("HEAD", "/users/{n}", None, "user", "200"),
    ("GET", "/slow", None, "/slow", "200"),
]
TIMES = 3


@pytest.fixture
def ask():
    """Sends a request; gives status and the bytes of the body."""

    def exchange(server, method, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request(method, path, body, {"Connection": "close"})
            response = connection.getresponse()
            return str(response.status), len(response.read())
        finally:
            connection.close()

    return exchange


def leave(server):
    """Ask for an endless answer and go in the middle of it; gives the bytes that have come."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        received = 0
        while received < 300_000:
            received += len(sock.recv(65536))
    return received


@pytest.mark.parametrize(("framework", "worker"), CASES)
def test_the_same_is_counted_whatever_the_framework(server, ask, kinds, framework, worker):
    kind = kinds[worker]
    gunicorn = server("-w", "1", *kind.arguments(), app=f"frameworks.{framework.app}").start()
    endpoints = {"user": framework.user, "order": framework.order}
    before = gunicorn.wait_counted("gunicorn_worker_requests_in_progress", 0)
    pings = before.sum(f"{FINE}_count")
    expected, read, sent = Counter(), Counter(), Counter()
    for n in range(1, TIMES + 1):
        for method, path, body, of, status in REQUESTS:
            endpoint = endpoints.get(of, of)
            answered, received = ask(gunicorn, method, path.format(n=n), body)
            assert answered == status, (method, path)
            expected[method, endpoint, status] += 1
            if status == "500" and not framework.answers_errors:
                received = 0
            sent[method, endpoint] += received
            if endpoint == "/upload":
                read[method, endpoint] += len(body)
    received = leave(gunicorn)
    expected["GET", "/endless", "200"] += 1

    total = pings + sum(expected.values())
    now = gunicorn.wait_counted(f"{FINE}_count", total)
    assert before.sum(f"{FINE}_count", endpoint="/ping", status="200") == pings
    found = Counter()
    for pairs, count in now.values(f"{FINE}_count").items():
        labels = dict(pairs)
        if labels["endpoint"] != "/ping":
            found[labels["method"], labels["endpoint"], labels["status"]] = count
    assert found == expected
    for (method, endpoint), size in sent.items():
        assert now.sum(SENT, method=method, endpoint=endpoint) == size, (method, endpoint)
    for (method, endpoint), size in read.items():
        assert now.sum(READ, method=method, endpoint=endpoint) == size, (method, endpoint)
    assert sent["GET", "/stream"] == TIMES * STREAMED
    assert now.sum(SENT, endpoint="/endless") >= received - 1000
    assert now.sum(f"{FINE}_sum", endpoint="/slow") >= TIMES * SECONDS
    assert now.sum("gunicorn_exporter_recording_errors_total") == 0
    errors = Counter()
    for pairs, count in now.values(FAILED).items():
        labels = dict(pairs)
        if labels["error_type"] not in GONE:
            errors[labels["method"], labels["endpoint"], labels["error_type"]] = count
    assert errors == {("GET", "/fails", "LookupError"): TIMES}
