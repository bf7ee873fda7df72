"""A WSGI application without a framework, and two metrics of its own.

Nothing in it knows of the exporter: the metrics are made with prometheus_client as anywhere else.
"""

import time
from pathlib import Path
from urllib.parse import parse_qs

from prometheus_client import Counter, Histogram

KINDS = ("coffee", "tea")

ORDERS = Counter("demo_orders", "Orders taken.", ["kind"])
UPLOADED = Histogram("demo_upload_bytes", "Sizes of uploads.", buckets=(1e3, 1e4, 1e5, 1e6))


def app(environ, start_response):
    answer = ROUTES.get(environ["PATH_INFO"], unknown)
    return answer(environ, start_response)


def index(environ, start_response):
    return text(start_response, "200 OK", "\n".join(ROUTES))


def fast(environ, start_response):
    """Take an order: /fast?kind=tea"""
    kind = parse_qs(environ.get("QUERY_STRING", "")).get("kind", ["coffee"])[0]
    if kind not in KINDS:  # label values that clients choose would make series without end
        return text(start_response, "400 Bad Request", f"no such kind; there are {KINDS}")
    ORDERS.labels(kind).inc()
    return text(start_response, "200 OK", f"one {kind}")


def slow(environ, start_response):
    time.sleep(0.3)
    return text(start_response, "200 OK", "that took a while")


def failing(environ, start_response):
    raise RuntimeError("this route always fails")


def upload(environ, start_response):
    size = 0
    while chunk := environ["wsgi.input"].read(65536):
        size += len(chunk)
    UPLOADED.observe(size)
    return text(start_response, "200 OK", f"{size} bytes")


def download(environ, start_response):
    """Send this file, the way that lets the server use sendfile."""
    path = Path(__file__)
    headers = [("Content-Type", "text/x-python"), ("Content-Length", str(path.stat().st_size))]
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](path.open("rb"))


def unknown(environ, start_response):
    return text(start_response, "404 Not Found", "there are: " + " ".join(ROUTES))


def text(start_response, status, words):
    body = f"{words}\n".encode()
    start_response(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    )
    return [body]


ROUTES = {
    "/": index,
    "/fast": fast,
    "/slow": slow,
    "/failing": failing,
    "/upload": upload,
    "/download": download,
}
