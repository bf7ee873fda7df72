"""Routes, as an application or a resolver by somebody else tells them."""

import asyncio
import json
import sys

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_workers.asgi import Application
from gunicorn_prometheus_workers.requests import Requests

FAILED = f"{c.WORKER_FAILED.storage_name}_total"

THEIRS = """
calls = []
def resolver():
    calls.append("resolver")
    def route(environ):
        if "theirs" not in environ:
            return None
        if environ["theirs"] == "breaks":
            raise RuntimeError("no luck")
        return environ["theirs"]
    return route
def broken():
    raise RuntimeError("no luck")
"""


def answers(status="200 OK", **about):
    def application(environ, start_response):
        environ.update(about)
        start_response(status, [("Content-Length", "0")])
        return []

    return application


def tells(route):
    return answers(**{"gunicorn_prometheus.route": route})


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Somebody else's distribution, for the frameworks their_framework and their_broken."""
    info = tmp_path / "their_routes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-routes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gunicorn_prometheus.routes]\n"
        "their_framework = their_routes:resolver\n"
        "their_broken = their_routes:broken\n"
    )
    (tmp_path / "their_routes.py").write_text(THEIRS)
    (tmp_path / "their_framework.py").write_text("")
    (tmp_path / "their_broken.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("their_routes", "their_framework", "their_broken"):
        sys.modules.pop(name, None)


def test_an_application_tells_its_route_by_one_line(make_worker, exchange, recorder, get):
    worker = make_worker(tells("/users/<id>"))
    for n in range(300):
        exchange(worker, get(f"/users/{n}"))
    assert recorder.requests() == {("GET", "/users/<id>", "200"): 300}


def test_an_asgi_application_tells_its_route_by_one_line(recorder):
    async def application(scope, receive, send):
        scope["gunicorn_prometheus.route"] = "/users/<id>"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def call():
        wrapped = Application(application, Requests(recorder, Settings()), lambda *_: False)
        scope = {"type": "http", "method": "GET", "path": "/users/7", "headers": []}
        await wrapped(scope, None, send)

    async def send(message):
        pass

    asyncio.run(call())
    assert recorder.requests() == {("GET", "/users/<id>", "200"): 1}


def test_an_application_that_tells_the_path_as_its_route_is_bounded_all_the_same(
    make_worker, exchange, recorder, get, in_force
):
    in_force(endpoint_limit=2)

    def application(environ, start_response):
        return tells(environ["PATH_INFO"])(environ, start_response)

    worker = make_worker(application)
    for n in range(30):
        exchange(worker, get(f"/{n}"))
    assert len(recorder.requests()) == 21
    assert recorder.requests()["GET", "_other_", "200"] == 10
    assert recorder.total(c.EXPORTER_FOLDED.name, label="endpoint") == 10


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "301 Moved"])
def test_an_application_can_say_that_it_has_no_route(make_worker, exchange, recorder, get, status):
    worker = make_worker(answers(status, **{"gunicorn_prometheus.route": ""}))
    for n in range(3):
        exchange(worker, get(f"/{n}"))
    assert recorder.requests() == {("GET", "_unmatched_", status[:3]): 3}


@pytest.mark.parametrize(("endpoint", "label"), [("path", "/users/7"), ("none", "_all_")])
def test_what_the_endpoint_is_can_be_chosen(
    make_worker, exchange, recorder, get, in_force, endpoint, label
):
    in_force(endpoint=endpoint)
    exchange(make_worker(tells("/users/<id>")), get("/users/7"))
    assert recorder.requests() == {("GET", label, "200"): 1}


def test_a_framework_is_asked_only_where_it_is_loaded(make_worker, exchange, recorder, get, theirs):
    worker = make_worker(answers(theirs="/route"))
    exchange(worker, get("/a"))
    assert "their_routes" not in sys.modules
    import their_framework  # noqa: F401  by the application, with a request

    exchange(worker, get("/b"))  # which is the one that is seen too late
    exchange(worker, get("/c"))
    assert recorder.requests() == {
        ("GET", "/a", "200"): 1,
        ("GET", "/b", "200"): 1,
        ("GET", "/route", "200"): 1,
    }
    assert sys.modules["their_routes"].calls == ["resolver"]


def test_of_a_framework_that_is_loaded_with_the_application_every_request_is_known(
    make_worker, exchange, recorder, get, theirs
):
    import their_framework  # noqa: F401

    worker = make_worker(answers(theirs="/route"))
    exchange(worker, get("/a"))
    assert recorder.requests() == {("GET", "/route", "200"): 1}


def test_a_resolver_that_fails_costs_the_route_only(
    make_worker, exchange, recorder, get, theirs, logged
):
    import their_broken  # noqa: F401
    import their_framework  # noqa: F401

    worker = make_worker(answers(theirs="breaks"))
    for _ in range(2):
        assert exchange(worker, get("/a")).startswith(b"HTTP/1.1 200")
    assert recorder.requests() == {("GET", "/a", "200"): 2}
    assert recorder.total(c.EXPORTER_RECORDING_ERRORS.name) == 2
    assert [record.getMessage() for record in logged] == [
        "routes of their_broken are not recognised; paths are counted instead",
        "recording a request failed; further failures are only counted",
    ]


# Exceptions that a framework has answered


def handled(status):
    return answers(
        status, **{"gunicorn_prometheus.route": "/r", "gunicorn_prometheus.error": LookupError}
    )


def test_an_exception_that_the_framework_has_answered_is_a_failure(
    make_worker, exchange, recorder, get
):
    exchange(make_worker(handled("500 Oh")), get("/a"))
    labels = {"method": "GET", "endpoint": "/r", "error_type": "LookupError"}
    assert recorder.samples(FAILED) == [(labels, 1)]


def test_one_that_the_application_has_turned_into_an_answer_is_not(
    make_worker, exchange, recorder, get
):
    exchange(make_worker(handled("409 Conflict")), get("/a"))
    assert recorder.samples(FAILED) == []


def test_a_request_that_fails_twice_is_counted_once(make_worker, exchange, recorder, get):
    def application(environ, start_response):
        handled("500 Oh")(environ, start_response)
        raise KeyError("in the error page")

    assert exchange(make_worker(application), get("/a")).startswith(b"HTTP/1.1 500")
    labels = {"method": "GET", "endpoint": "/r", "error_type": "LookupError"}
    assert recorder.samples(FAILED) == [(labels, 1)]
    ((labels, count),) = recorder.samples(f"{c.WORKER_ERRORS.storage_name}_total")
    assert (labels["endpoint"], labels["error_type"], count) == ("/r", "KeyError", 1)


def test_types_of_errors_are_bounded(make_worker, exchange, recorder, get, in_force):
    in_force(label_limit=3)

    def application(environ, start_response):
        raise type(f"Error{environ['PATH_INFO'][1:]}", (Exception,), {})

    worker = make_worker(application)
    for n in range(6):
        exchange(worker, get(f"/{n}"))
    assert {labels["error_type"] for labels, _ in recorder.samples(FAILED)} == {
        "Error0",
        "Error1",
        "Error2",
        "_other_",
    }
    assert recorder.total(FAILED) == 6
    again = make_worker(application)
    exchange(again, get("/7"))
    assert recorder.total(FAILED, error_type="Error7") == 0


# Excluded paths and buckets


def test_excluded_paths_are_in_none_of_the_metrics(make_worker, exchange, recorder, get, in_force):
    in_force(excluded_paths=("/health", "/static/*"))
    worker = make_worker(answers())
    for path in ("/health", "/static/a", "/b"):
        assert exchange(worker, get(path)).startswith(b"HTTP/1.1 200")
    assert recorder.requests() == {("GET", "/b", "200"): 1}

    def fails(environ, start_response):
        raise LookupError

    assert exchange(make_worker(fails), get("/health")).startswith(b"HTTP/1.1 500")
    assert recorder.samples(FAILED) == []
    assert recorder.samples(f"{c.WORKER_ERRORS.storage_name}_total") == []


def test_buckets_of_the_duration_can_be_chosen(make_worker, exchange, recorder, get, in_force):
    in_force(duration_buckets=(0.0001, 0.3, 0.5))
    exchange(make_worker(answers()), get("/a"))
    keys = map(json.loads, recorder.pages["histogram"].places)
    name = f"{c.HTTP_DURATION.name}_bucket"
    bounds = {float(labels["le"]) for _, sample, labels, _ in keys if sample == name}
    assert bounds == {0.0001, 0.3, 0.5, *c.COARSE_SECONDS, float("inf")}
