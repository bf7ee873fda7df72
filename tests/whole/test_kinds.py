"""Single requests of every sort, on every kind of worker."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest
from gunicorn import __version__ as gunicorn_version
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

FINE = "gunicorn_http_request_duration_seconds"
READ, SENT = "gunicorn_http_request_size_bytes_sum", "gunicorn_http_response_size_bytes_sum"
FAILED, ANSWERED = "gunicorn_worker_failed_requests", "gunicorn_worker_error_handling"
IN_PROGRESS = "gunicorn_worker_requests_in_progress"
PARTS = b"one, two, three"
FILE = Path(__file__).with_name("application.py").stat().st_size

VERSION = tuple(int(part) for part in gunicorn_version.split(".")[:2])

pytestmark = pytest.mark.compat


@pytest.fixture(scope="module")
def serving(kind, module_server):
    """A server of that kind for all the tests; each of them asks for other paths."""
    return module_server("-w", "1", *kind.arguments(), app=kind.app).start()


@pytest.fixture
def counted(serving, wait):
    """Waits until an endpoint has been answered, once; gives the scrape that says so."""

    def find(endpoint, status="200"):
        now = serving.wait_counted(f"{FINE}_count", 1, endpoint=endpoint)
        assert now.sum(f"{FINE}_count", endpoint=endpoint, status=status) == 1
        assert now.sum(IN_PROGRESS) == 0
        return now

    return find


@pytest.fixture
def connection(serving):
    found = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=30)
    yield found
    found.close()


def errors(now, endpoint, name):
    """Types of the errors counted under that name."""
    return [dict(labels)["error_type"] for labels in now.values(name, endpoint=endpoint)]


def test_a_response_in_parts_lasts_until_its_last_byte(connection, counted):
    # Gunicorn 24's ASGI worker can't end a body of unknown length otherwise.
    connection.request("GET", "/stream?0.2", headers={"Connection": "close"})
    assert connection.getresponse().read() == PARTS
    now = counted("/stream")
    assert now.sum(SENT, endpoint="/stream") == len(PARTS)
    assert 0.6 <= now.sum(f"{FINE}_sum", endpoint="/stream") < 10


def test_a_file(connection, counted):
    connection.request("GET", "/download")
    assert len(connection.getresponse().read()) == FILE
    assert counted("/download").sum(SENT, endpoint="/download") == FILE


def test_an_upload_in_chunks(connection, counted):
    chunks = iter([b"x" * 4000, b"y" * 999, b"z"])
    connection.request("POST", "/upload-chunks", chunks, encode_chunked=True)
    assert connection.getresponse().read() == b"5000"
    assert counted("/upload-chunks").sum(READ, endpoint="/upload-chunks") == 5000


@pytest.mark.kinds(lambda kind: kind.name != "asgi" or VERSION >= (27,))
def test_a_body_that_the_server_asks_for(serving, counted):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as sock:
        sock.sendall(
            b"POST /upload-expected HTTP/1.1\r\nHost: test\r\nContent-Length: 7000\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        file = sock.makefile("rb")
        assert file.readline().startswith(b"HTTP/1.1 100")
        assert file.readline() == b"\r\n"
        sock.sendall(b"x" * 7000)
        assert file.readline().startswith(b"HTTP/1.1 200")
        assert file.read().endswith(b"7000")
    assert counted("/upload-expected").sum(READ, endpoint="/upload-expected") == 7000


def test_an_answer_to_head(connection, counted):
    connection.request("HEAD", "/ping-head")
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Length")) == (200, "4")
    response.read()
    assert counted("/ping-head").sum(SENT, endpoint="/ping-head") == 0


@pytest.mark.kinds(lambda kind: kind.name == "tornado")
def test_a_body_that_tornado_would_not_send_to_head(connection, counted):
    connection.request("HEAD", "/-head")
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Length")) == (200, "5")
    response.read()
    assert counted("/-head").sum(SENT, endpoint="/-head") == 0


def test_the_path_is_recorded_as_the_client_sent_it(connection, counted):
    connection.request("GET", "/ping-%C3%A4%20b?c=d")
    assert connection.getresponse().read() == b"pong"
    counted("/ping-%C3%A4%20b")


def test_the_trace_of_a_request_is_the_exemplar_of_its_duration(serving, connection, counted):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    connection.request("GET", "/ping-traced", headers={"traceparent": f"00-{trace}-{7:016x}-01"})
    assert connection.getresponse().read() == b"pong"
    counted("/ping-traced")
    shown = serving.scrape(accept="application/openmetrics-text; version=1.0.0").text
    bucket = re.compile(rf'{FINE}_bucket{{endpoint="/ping-traced",.* 1.0 # {{trace_id="{trace}"}} ')
    assert len(bucket.findall(shown)) == 1


@pytest.mark.kinds(lambda kind: kind.hooks or kind.name == "gevent_pywsgi")
def test_recording_holds_a_native_lock_in_a_monkey_patched_process(serving, connection):
    connection.request("GET", "/lock")
    assert connection.getresponse().read() == b"_thread.RLock"
    assert "not greened" not in serving.log


# Failures


def test_an_application_that_fails(connection, counted):
    connection.request("GET", "/fail-once")
    assert connection.getresponse().status == 500
    now = counted("/fail-once", "500")
    assert errors(now, "/fail-once", FAILED) == errors(now, "/fail-once", ANSWERED)
    assert errors(now, "/fail-once", FAILED) == ["LookupError"]


@pytest.mark.kinds(lambda kind: kind.name != "tornado_native")  # which answers 405 there
def test_an_application_that_fails_when_asked_by_head(connection, counted):
    connection.request("HEAD", "/fail-head")
    response = connection.getresponse()
    assert (response.status, response.read()) == (500, b"")
    assert counted("/fail-head", "500").sum(SENT, endpoint="/fail-head") == 0


def test_an_application_that_fails_in_the_middle_of_its_response(kind, connection, counted):
    connection.request("GET", "/breaks")
    response = connection.getresponse()
    if kind.name == "tornado":  # which sends nothing before it has the whole response
        assert response.status == 500
    else:
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert caught.value.partial == b"hello"
    now = counted("/breaks", str(response.status))
    assert errors(now, "/breaks", FAILED) == ["LookupError"]
    assert now.sum(SENT, endpoint="/breaks") == (5 if response.status == 200 else 0)


# Tornado sends nothing of a WSGI application's response before it has the whole of it, and Gunicorn
# 25's ASGI worker tells applications at once that their clients have gone.
@pytest.mark.kinds(
    lambda kind: kind.name != "tornado" and not (kind.name == "asgi" and VERSION[0] == 25)
)
def test_a_client_that_leaves_in_the_middle_of_its_response(serving, counted):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        received = 0
        while received < 300_000:
            received += len(sock.recv(65536))
    sent = counted("/endless").sum(SENT, endpoint="/endless")
    # More than arrived is on its way, in buffers of sockets and servers.
    assert 250_000 < sent < 50_000_000


def test_a_client_that_leaves_in_the_middle_of_its_upload(serving):
    before = serving.wait_counted(IN_PROGRESS, 0)
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as sock:
        head = b"POST /upload-left HTTP/1.1\r\nHost: test\r\nContent-Length: 50000\r\n\r\n"
        sock.sendall(head + b"x" * 5000)
        serving.wait_counted(IN_PROGRESS, 1)
    now = serving.wait_counted(f"{FINE}_count", before.sum(f"{FINE}_count") + 1)
    assert now.sum(READ) == before.sum(READ) + 5000
    assert now.sum(IN_PROGRESS) == 0


def test_a_client_that_leaves_before_there_is_an_answer(serving, wait):
    before = serving.wait_counted(IN_PROGRESS, 0)
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as sock:
        sock.sendall(b"GET /slow-left?0.5 HTTP/1.1\r\nHost: test\r\n\r\n")
        serving.wait_counted(IN_PROGRESS, 1)
    serving.wait_counted(IN_PROGRESS, 0)
    now = serving.wait_counted(f"{FINE}_count", before.sum(f"{FINE}_count") + 1)
    total = now.sum(f"{FINE}_count", endpoint="/slow-left")
    gone = now.sum(f"{FINE}_count", status="499") - before.sum(f"{FINE}_count", status="499")
    assert total + gone == 1


@pytest.mark.kinds(lambda kind: kind.hooks or kind.name == "gevent_pywsgi")
def test_a_request_that_cannot_be_read(serving):
    with socket.create_connection(("127.0.0.1", serving.port), timeout=30) as sock:
        sock.sendall(b"GARBAGE\r\n\r\n")
        assert b" 400 " in sock.recv(1000)
    serving.wait_counted(ANSWERED, 1, method="UNKNOWN", endpoint="UNKNOWN")


@pytest.mark.kinds(lambda kind: kind.name == "tornado_native")
def test_an_exception_of_tornado_is_an_error_if_it_is_one_of_the_server(connection, counted):
    for path, status in (("/nowhere-404", "404"), ("/unavailable", "503")):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == int(status)
    now = counted("/unavailable", "503")
    assert errors(now, "/unavailable", FAILED) == ["HTTPError"]
    assert errors(now, "_unmatched_", FAILED) == []


# ASGI


@pytest.mark.kinds(lambda kind: kind.asgi)
def test_what_an_application_does_after_its_response_is_not_the_responses(connection, counted):
    connection.request("GET", "/background?0.5")
    assert connection.getresponse().read() == b"done"
    now = counted("/background")
    assert now.sum(f"{FINE}_sum", endpoint="/background") < 0.5


@pytest.mark.kinds(lambda kind: kind.asgi)
def test_an_exception_after_the_response_is_counted(connection, serving):
    connection.request("GET", "/background-failing?0")
    assert connection.getresponse().read() == b"done"
    now = serving.wait_counted(FAILED, 1, endpoint="/background-failing")
    assert now.sum(f"{FINE}_count", endpoint="/background-failing", status="200") == 1
    assert now.sum(ANSWERED, endpoint="/background-failing") == 0


@pytest.mark.kinds(lambda kind: kind.asgi)
def test_an_application_that_does_not_answer_is_a_500(connection, counted):
    connection.request("GET", "/silent")
    assert connection.getresponse().status == 500
    counted("/silent", "500")


# As a worker ends


@pytest.mark.timeout(120)
@pytest.mark.kinds(lambda kind: not kind.stalls)
def test_requests_in_flight_at_a_graceful_stop_are_counted(server, kind, wait):
    gunicorn = server("-w", "1", "--threads", "4", *kind.arguments(), app=kind.app).start()
    together = 1 if kind.name in ("sync", "tornado") else 4
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(gunicorn.get("/slow?0.7")))
        for _ in range(together)
    ]
    for thread in threads:
        thread.start()
    gunicorn.wait_counted(IN_PROGRESS, together)
    first = gunicorn.workers()
    gunicorn.send(signal.SIGHUP)
    for thread in threads:
        thread.join()
    assert answers == [(200, b"slow")] * together
    wait(lambda: not set(first) & set(gunicorn.workers()), "the worker has been replaced", 40)
    now = gunicorn.wait_counted(f"{FINE}_count", together, endpoint="/slow", status="200")
    assert now.sum(IN_PROGRESS) == 0
    gunicorn.wait_counted("gunicorn_worker_exits_total", 1, cause="reload")


@pytest.mark.kinds(lambda kind: kind.recycles)
def test_a_worker_that_has_handled_its_requests_says_why_it_ends(server, kind, wait):
    gunicorn = server("-w", "1", "--max-requests", "3", *kind.arguments(), app=kind.app).start()
    (first,) = gunicorn.workers()

    def renewed():
        assert gunicorn.answers() or kind.drops_connections
        return gunicorn.workers() not in ([], [first])

    wait(renewed, "the worker has been replaced")
    now = gunicorn.wait_counted("gunicorn_worker_exits_total", 1, worker_id="0")
    assert now.sum("gunicorn_worker_exits_total", cause="max_requests") == 1


def test_the_worker_says_its_capacity_and_its_state(serving, kind):
    now = serving.scrape()
    capacity = {"sync": 1, "gthread": 4, "tornado": None, "tornado_native": None, "uvicorn": None}
    expected = capacity.get(kind.name, 1000)
    found = now.values("gunicorn_worker_capacity", worker_id="0")
    assert list(found.values()) == ([expected] if expected is not None else [])
    (state,) = now.values("gunicorn_worker_state")
    assert dict(state)["state"] == "running"


@pytest.mark.kinds(lambda kind: kind.asgi)
def test_websockets_are_counted_apart_from_requests(server, kind):
    gunicorn = server("-w", "1", *kind.arguments(), app=kind.app).start()
    total, still_open = "gunicorn_worker_websockets_total", "gunicorn_worker_websockets_open"
    url = f"ws://127.0.0.1:{gunicorn.port}"
    for _ in range(2):
        with connect(f"{url}/echo") as first, connect(f"{url}/echo") as second:
            for each in (first, second):
                each.send("hello")
                assert each.recv() == "hello"
            gunicorn.wait_counted(still_open, 2)
    with connect(f"{url}/fail") as failing:
        failing.send("now")
        with pytest.raises(ConnectionClosed):
            failing.recv()
    for path in ("/stranger-1", "/stranger-2", "/fail-first"):
        # Before 26, Gunicorn's ASGI worker only closes the connection.
        with pytest.raises(InvalidHandshake):
            connect(url + path)
    now = gunicorn.wait_counted(still_open, 0)
    assert now.sum(total, endpoint="/echo", outcome="accepted") == 4
    assert now.sum(total, endpoint="/fail", outcome="accepted") == 1
    assert now.sum(total, endpoint="_unmatched_", outcome="rejected") == 2
    assert now.sum(total, endpoint="/fail-first", outcome="failed") == 1
    assert now.sum(total) == 8
    assert errors(now, "/fail", FAILED) == errors(now, "/fail-first", FAILED) == ["LookupError"]
    assert now.sum(f"{FINE}_count") == now.sum(f"{FINE}_count", endpoint="/ping")


@pytest.mark.kinds(lambda kind: kind.asgi)
def test_the_lifespan_is_the_applications(server, kind, wait, tmp_path):
    gunicorn = server("-w", "2", *kind.arguments(), app=kind.app, LIFESPAN_EVENTS=str(tmp_path))
    gunicorn.start()
    workers = gunicorn.workers()

    def events():
        return {int(path.name): path.read_text() for path in tmp_path.iterdir() if path.is_file()}

    wait(lambda: len(events()) == len(workers) == 2, "both have begun")
    gunicorn.stop()
    assert events() == dict.fromkeys(workers, "startup\nshutdown\n")


@pytest.mark.kinds(lambda kind: kind.name == "uvicorn" or (kind.asgi and VERSION >= (27,)))
def test_a_lifespan_that_fails_stops_the_server_as_without_us(server, kind):
    gunicorn = server("-w", "1", *kind.arguments(), app=kind.app, LIFESPAN_FAILS="1")
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(30) == 3
    assert "as asked" in gunicorn.log


# Gunicorn 25's ASGI worker gives applications the body of a request in HTTP/2 twice, that of 26
# closes connections too early.
HTTP2_SINCE = {"gthread": (25,), "gevent": (25,), "eventlet": (25,), "asgi": (27,)}


@pytest.mark.kinds(lambda kind: HTTP2_SINCE.get(kind.name, (99,)) <= VERSION)
def test_http_2(server, kind, certificate):
    files = ["--certfile", certificate.certfile, "--keyfile", certificate.keyfile]
    tls = [*files, "--http-protocols", "h2,h1"]
    gunicorn = server("-w", "1", *tls, *kind.arguments(), app=kind.app)
    gunicorn.context = certificate.context()
    gunicorn.start()
    base = f"https://localhost:{gunicorn.port}"
    trusting = certificate.context()
    with httpx.Client(http2=True, http1=False, verify=trusting, timeout=30) as client:
        for _ in range(3):
            response = client.post(f"{base}/upload", content=b"x" * 5000)
            assert (response.http_version, response.text) == ("HTTP/2", "5000")
        assert client.get(f"{base}/stream").content == PARTS
        assert client.get(f"{base}/download").status_code == 200
        assert client.head(f"{base}/ping-head").status_code == 200
        with contextlib.suppress(httpx.RemoteProtocolError):  # a stream that is reset
            assert client.get(f"{base}/fail").status_code == 500
    now = gunicorn.wait_counted(f"{FINE}_count", 3, endpoint="/upload", status="200")
    assert now.sum(READ, endpoint="/upload") == 15_000
    assert now.sum(SENT, endpoint="/upload") == 12
    assert now.sum(SENT, endpoint="/stream") == len(PARTS)
    assert now.sum(SENT, endpoint="/download") == FILE
    assert now.sum(SENT, endpoint="/ping-head") == 0
    now = gunicorn.wait_counted(f"{FINE}_count", 1, endpoint="/fail", status="500")
    assert errors(now, "/fail", FAILED) == ["LookupError"]
    assert now.sum(IN_PROGRESS) == 0


@pytest.mark.kinds(lambda kind: kind.name == "uvicorn")
def test_worker_exit_is_called_on_uvicorn_too(server, kind, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "import os\n"
        f"def worker_exit(server, worker): open(r'{tmp_path}/exit-%d' % os.getpid(), 'x').close()\n"
    )
    gunicorn = server("-w", "1", "-c", str(config), *kind.arguments(), app=kind.app).start()
    (worker,) = gunicorn.workers()
    gunicorn.stop()
    assert os.path.exists(tmp_path / f"exit-{worker}")
