"""Requests through Gunicorn's sync worker, its parser and its response, on real sockets."""

import socket
import struct

import pytest

from gunicorn_prometheus_core import catalogue as c

IN_PROGRESS = c.WORKER_IN_PROGRESS.name
READ, SENT = c.HTTP_REQUEST_SIZE.name, c.HTTP_RESPONSE_SIZE.name
FAILED, ERRORS = (f"{family.storage_name}_total" for family in (c.WORKER_FAILED, c.WORKER_ERRORS))


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def reads_all(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "0"), ("X-Read", str(len(body)))])
    return []


def status_by_path(environ, start_response):
    status = environ["PATH_INFO"].strip("/")
    start_response(f"{status} Something", [("Content-Length", "0")])
    return []


def fails(environ, start_response):
    raise KeyError("no luck")


def fails_after_headers(environ, start_response):
    start_response("200 OK", [("Content-Length", "10")])
    yield b"hello"
    raise KeyError("no luck")


@pytest.fixture(autouse=True)
def nothing_in_progress(recorder):
    yield
    assert recorder.total(IN_PROGRESS) == 0


def test_a_request_is_recorded_once_by_method_endpoint_and_status(
    make_worker, exchange, recorder, get
):
    worker = make_worker(hello)
    for _ in range(3):
        assert exchange(worker, get("/a")).endswith(b"hello")
    exchange(worker, get("/a", "POST"))
    exchange(worker, get("/b?x=y"))
    assert recorder.requests() == {
        ("GET", "/a", "200"): 3,
        ("POST", "/a", "200"): 1,
        ("GET", "/b", "200"): 1,
    }
    route = {"method": "GET", "endpoint": "/a"}
    assert recorder.samples(f"{READ}_bucket").count(({**route, "le": "1024.0"}, 3)) == 1
    assert recorder.samples(f"{SENT}_bucket").count(({**route, "le": "1024.0"}, 3)) == 1
    assert recorder.total(f"{SENT}_sum", **route) == 15
    assert 0 < recorder.total(f"{c.HTTP_DURATION.name}_sum") < 60


def test_a_request_in_progress_is_counted_while_it_is(make_worker, exchange, recorder, get):
    seen = []

    def application(environ, start_response):
        seen.append(recorder.total(IN_PROGRESS))
        return hello(environ, start_response)

    exchange(make_worker(application), get())
    assert seen == [1]


@pytest.mark.parametrize("status", ["200", "201", "302", "404", "500", "503"])
def test_the_status_is_the_answered_one(make_worker, exchange, recorder, get, status):
    exchange(make_worker(status_by_path), get(f"/{status}"))
    ((_, endpoint, recorded),) = recorder.requests()
    assert recorded == status
    assert endpoint == ("_unmatched_" if status == "404" else f"/{status}")


def test_strangers_cannot_make_series(make_worker, exchange, recorder, get, monkeypatch):
    monkeypatch.setenv("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "5")
    worker = make_worker(hello)
    missing = make_worker(status_by_path)
    for n in range(40):
        exchange(worker, get(f"/{n}"))
        exchange(worker, get("/0", method=f"X{n}"))
    exchange(missing, get("/404"))
    assert {endpoint for _, endpoint, _ in recorder.requests()} == {
        *(f"/{n}" for n in range(5)),
        "_other_",
        "_unmatched_",
    }
    assert {method for method, *_ in recorder.requests()} == {"GET", "_OTHER"}


def test_the_limit_counts_for_all_workers_that_ever_own_a_slot(
    make_worker, exchange, recorder, get, monkeypatch
):
    monkeypatch.setenv("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "4")
    for generation in range(3):
        worker = make_worker(hello)
        for n in range(3):
            exchange(worker, get(f"/{generation}/{n}"))
    endpoints = {endpoint for _, endpoint, _ in recorder.requests()}
    assert len(endpoints - {"_other_"}) == 4
    assert sum(recorder.requests().values()) == 9


# Errors


def test_a_failed_request_is_a_500_and_counted_by_its_exception(
    make_worker, exchange, recorder, get
):
    answer = exchange(make_worker(fails), get("/a"))
    assert answer.startswith(b"HTTP/1.1 500")
    assert recorder.requests() == {("GET", "/a", "500"): 1}
    labels = {"method": "GET", "endpoint": "/a", "error_type": "KeyError"}
    assert recorder.samples(FAILED) == [(labels, 1)]
    assert recorder.samples(ERRORS) == [(labels, 1)]


def test_a_request_that_fails_after_its_headers_has_the_status_that_was_sent(
    make_worker, exchange, recorder, get
):
    answer = exchange(make_worker(fails_after_headers), get("/a"))
    assert answer.endswith(b"hello")
    assert recorder.requests() == {("GET", "/a", "200"): 1}
    labels = {"method": "GET", "endpoint": "/a", "error_type": "KeyError"}
    assert recorder.samples(FAILED) == [(labels, 1)]
    assert recorder.samples(ERRORS) == []
    assert recorder.total(f"{SENT}_sum") == 5


def test_a_client_that_goes_away_unanswered_is_a_499(make_worker, exchange, recorder, get):
    def resets(environ, start_response):
        raise ConnectionResetError(104, "Connection reset by peer")

    exchange(make_worker(resets), get("/a"))
    assert recorder.requests() == {("GET", "_unmatched_", "499"): 1}
    assert [labels["error_type"] for labels, _ in recorder.samples(FAILED)] == [
        "ConnectionResetError"
    ]


def test_a_client_that_goes_away_while_it_is_answered_has_the_status_that_was_sent(
    make_worker, exchange, recorder, get
):
    def endless(environ, start_response):
        start_response("200 OK", [])
        while True:
            yield b"x" * 65536

    def leaves(sock):
        sock.sendall(get("/a"))
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    exchange(make_worker(endless), b"", client=leaves)
    assert recorder.requests() == {("GET", "/a", "200"): 1}
    assert [labels["error_type"] for labels, _ in recorder.samples(FAILED)] == ["BrokenPipeError"]
    assert recorder.total(f"{SENT}_sum") > 0


@pytest.mark.parametrize(
    ("request_bytes", "error_type"),
    [
        (b"GARBAGE\r\n\r\n", "InvalidRequestLine"),
        (b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", "InvalidHeaderName"),
        # Gunicorn 21 serves whatever looks like a version.
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", "InvalidHTTPVersion", marks=pytest.mark.newest),
    ],
)
def test_what_is_no_request_is_counted_as_an_error_only(
    make_worker, exchange, recorder, request_bytes, error_type
):
    answer = exchange(make_worker(hello), request_bytes)
    assert answer.startswith(b"HTTP/1.1 400")
    labels = {"method": "UNKNOWN", "endpoint": "UNKNOWN", "error_type": error_type}
    assert recorder.samples(ERRORS) == [(labels, 1)]
    assert recorder.requests() == {}


MALFORMED = b"nonsense\r\n"


def test_a_body_that_is_malformed_is_a_request_that_failed(make_worker, exchange, recorder, get):
    request = get("/a", "POST", headers=["Transfer-Encoding: chunked"]) + MALFORMED
    exchange(make_worker(reads_all), request)
    assert [labels["error_type"] for labels, _ in recorder.samples(FAILED)] == ["InvalidChunkSize"]
    assert sum(recorder.requests().values()) == 1


@pytest.mark.newest  # Gunicorn before 27 closes the connection without an answer
def test_a_body_that_is_malformed_is_a_400(make_worker, exchange, recorder, get):
    request = get("/a", "POST", headers=["Transfer-Encoding: chunked"]) + MALFORMED
    assert exchange(make_worker(reads_all), request).startswith(b"HTTP/1.1 400")
    assert recorder.requests() == {("POST", "_unmatched_", "400"): 1}


def test_a_silent_client_is_no_request(make_worker, exchange, recorder):
    exchange(make_worker(hello), b"")
    assert recorder.requests() == {}
    assert recorder.samples(ERRORS) == []


# What goes wrong in the recording stays there


def break_at_the_start(recorder, monkeypatch):
    monkeypatch.setattr("gunicorn_prometheus_workers.hooks.LengthReader", None)
    monkeypatch.setattr("gunicorn_prometheus_workers.sizes.counted", lambda req: 1 / 0)


def break_series(recorder, monkeypatch):
    recorder.broken = True


def break_stores(recorder, monkeypatch):
    monkeypatch.setattr("gunicorn_prometheus_workers.requests.bisect_left", lambda *_: 10**6)


@pytest.mark.parametrize("how", [break_at_the_start, break_series, break_stores])
def test_a_failure_of_the_recording_is_counted_logged_once_and_not_the_requests(
    make_worker, exchange, recorder, get, monkeypatch, logged, how
):
    worker = make_worker(hello)
    how(recorder, monkeypatch)
    for n in range(3):
        assert exchange(worker, get(f"/{n}")).endswith(b"hello")
    assert recorder.total("gunicorn_exporter_recording_errors_total") == 3
    (record,) = logged
    assert "recording a request failed" in record.getMessage()
    assert record.exc_info


def test_a_failure_of_recording_an_error_is_counted_too(
    make_worker, exchange, recorder, get, logged
):
    worker = make_worker(fails)
    recorder.broken = True
    assert exchange(worker, get()).startswith(b"HTTP/1.1 500")
    assert exchange(worker, b"GARBAGE\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert recorder.total("gunicorn_exporter_recording_errors_total") == 4
    assert len(logged) == 1
