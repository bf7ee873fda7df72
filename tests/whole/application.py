"""The application under test: plain WSGI, with metrics of its own."""

import os
import threading
import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Summary,
    generate_latest,
    multiprocess,
)

from gunicorn_prometheus_storage_mmap import backend

HELLOS = Counter("app_hellos_total", "Answers of the front page")
LATENCY = Histogram("app_latency_seconds", "A histogram", ["kind"], buckets=(0.1, 1))
SIZES = Summary("app_sizes", "A summary")
LIVE = Gauge("app_live", "A gauge", multiprocess_mode="livesum")
LATEST = Gauge("app_latest", "A gauge", multiprocess_mode="mostrecent")
STARTS = Counter("app_starts_total", "Imports of this module")

time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))
STARTS.inc()
LIVE.inc()

PARTS = (b"one, ", b"two, ", b"three")


def front(environ, start_response):
    HELLOS.inc()
    LATENCY.labels("front").observe(0.05)
    SIZES.observe(5)
    return answer(start_response, b"hello")


def ping(environ, start_response):
    response = answer(start_response, b"pong")
    return response if environ["REQUEST_METHOD"] != "HEAD" else []


def upload(environ, start_response):
    return answer(start_response, str(len(environ["wsgi.input"].read())).encode())


def download(environ, start_response):
    """A file that goes out by sendfile where the server can."""
    path = __file__
    start_response("200 OK", [("Content-Length", str(os.path.getsize(path)))])
    file = open(path, "rb")  # noqa: SIM115  closed by the server
    if "wsgi.file_wrapper" in environ:  # Tornado has none
        return environ["wsgi.file_wrapper"](file)
    with file:
        return [file.read()]


def fail(environ, start_response):
    """With an exception of the class that is asked for, or else a LookupError."""
    name = environ["QUERY_STRING"]
    raise (type(name, (LookupError,), {}) if name else LookupError)("as asked")


def stream(environ, start_response):
    """Three parts of a body whose length isn't known before, as far apart as asked for."""
    start_response("200 OK", [])
    for part in PARTS:
        yield part
        time.sleep(float(environ["QUERY_STRING"] or 0))


def endless(environ, start_response):
    """A body that ends only when nobody wants it any more."""
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536


def breaks(environ, start_response):
    """Fails in the middle of its response."""
    start_response("200 OK", [("Content-Length", "10")])
    yield b"hello"
    raise LookupError("as asked")


def slow(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 1))
    return answer(start_response, b"slow")


def timed(environ, start_response):
    """Sleeps for as long as asked for, and says how long that was."""
    began = time.perf_counter()
    time.sleep(float(environ["QUERY_STRING"]))
    return answer(start_response, repr(time.perf_counter() - began).encode())


def threads(environ, start_response):
    """Counts from eight threads at the same time."""

    def count():
        for _ in range(1000):
            HELLOS.inc()

    started = [threading.Thread(target=count) for _ in range(8)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return answer(start_response, b"counted")


def child(environ, start_response):
    """Counts in a process forked from the worker."""
    pid = os.fork()
    if pid == 0:
        HELLOS.inc(7)
        os._exit(0)
    os.waitpid(pid, 0)
    return answer(start_response, b"counted")


def pid(environ, start_response):
    return answer(start_response, str(os.getpid()).encode())


def lock(environ, start_response):
    """The module of the lock that recording holds: _thread for a native one."""
    kind = type(backend._active.lock)
    return answer(start_response, f"{kind.__module__}.{kind.__name__}".encode())


def newest(environ, start_response):
    LATEST.set(float(environ["QUERY_STRING"]))
    return answer(start_response, b"set")


def series(environ, start_response):
    """Makes as many new series as asked for."""
    for i in range(int(environ["QUERY_STRING"])):
        LATENCY.labels(f"{os.getpid()}-{i}-{'x' * 100}").observe(1)
    return answer(start_response, b"made")


def metrics(environ, start_response):
    """Serves metrics as prometheus_client's documentation says, where nobody serves them for it."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return answer(start_response, generate_latest(registry))


def answer(start_response, body, status="200 OK"):
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


ROUTES = {
    "/": front,
    "/metrics": metrics,
    "/ping": ping,
    "/upload": upload,
    "/download": download,
    "/fail": fail,
    "/stream": stream,
    "/endless": endless,
    "/breaks": breaks,
    "/slow": slow,
    "/timed": timed,
    "/threads": threads,
    "/child": child,
    "/pid": pid,
    "/lock": lock,
    "/newest": newest,
    "/series": series,
}


def app(environ, start_response):
    """Whatever follows a hyphen in the path is for the tests to tell their requests apart."""
    route = ROUTES.get(environ["PATH_INFO"].partition("-")[0])
    if route is None:
        return answer(start_response, b"nothing here", "404 Not Found")
    return route(environ, start_response)
