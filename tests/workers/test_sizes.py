"""Bytes that were really read and really sent, by Gunicorn's parser and responses."""

import socket

import pytest

from gunicorn_prometheus_core import catalogue as c

READ, SENT = f"{c.HTTP_REQUEST_SIZE.name}_sum", f"{c.HTTP_RESPONSE_SIZE.name}_sum"
MEGABYTE = 1 << 20


def reads(*sizes):
    def application(environ, start_response):
        for size in sizes:
            environ["wsgi.input"].read(size)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    return application


def chunked(*chunks, ending=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + ending


@pytest.mark.parametrize(
    ("application", "read"), [(reads(), 0), (reads(None), 5000), (reads(None, None), 5000)]
)
def test_a_body_of_known_length(make_worker, exchange, recorder, get, application, read):
    exchange(make_worker(application), get(method="POST", body=b"x" * 5000))
    assert recorder.total(READ) == read


def test_a_body_that_is_read_in_part(make_worker, exchange, recorder, get):
    exchange(make_worker(reads(2000)), get(method="POST", body=b"x" * 50_000))
    # Gunicorn reads somewhat ahead of the application.
    assert 2000 <= recorder.total(READ) < 50_000


@pytest.mark.parametrize(
    ("application", "read"), [(reads(), 0), (reads(None), 5000), (reads(*[100] * 60), 5000)]
)
def test_a_chunked_body(make_worker, exchange, recorder, get, application, read):
    body = chunked(b"x" * 4000, b"y" * 999, b"z")
    request = get(method="POST", headers=["Transfer-Encoding: chunked"]) + body
    answer = exchange(make_worker(application), request)
    assert answer.startswith(b"HTTP/1.1 200")
    assert recorder.total(READ) == read


@pytest.mark.parametrize("how", ["lines", "readline", "readlines"])
def test_a_chunked_body_that_is_read_by_lines(make_worker, exchange, recorder, get, how):
    def application(environ, start_response):
        body = environ["wsgi.input"]
        lines = {
            "lines": lambda: list(body),
            "readline": lambda: list(iter(body.readline, b"")),
            "readlines": body.readlines,
        }[how]()
        assert lines == [b"one\n", b"two\n", b"three"]
        start_response("200 OK", [("Content-Length", "0")])
        return []

    request = get(method="POST", headers=["Transfer-Encoding: chunked"])
    answer = exchange(make_worker(application), request + chunked(b"one\ntw", b"o\nthree"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert recorder.total(READ) == len(b"one\ntwo\nthree")


def test_a_request_without_a_body_reads_nothing(make_worker, exchange, recorder, get):
    exchange(make_worker(reads(None)), get())
    assert recorder.total(READ) == 0


# Responses


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "chunked"])
def test_the_body_of_a_response_is_counted_without_its_framing(
    make_worker, exchange, recorder, get, length
):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "3000")] if length else [])
        return [b"x" * 1000, b"", b"y" * 2000]

    exchange(make_worker(application), get())
    assert recorder.total(SENT) == 3000


def test_nothing_of_an_answer_to_head_is_counted(make_worker, exchange, recorder, get):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []

    exchange(make_worker(application), get(method="HEAD"))
    assert recorder.total(SENT) == 0


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * MEGABYTE))
    return path


def sends(path, offset=0, length=None, headers=()):
    def application(environ, start_response):
        file = open(path, "rb")  # noqa: SIM115  Gunicorn closes it
        file.seek(offset)
        start_response("200 OK", [*headers])
        return environ["wsgi.file_wrapper"](file)

    return application


@pytest.mark.parametrize("sendfile", [True, False])
@pytest.mark.parametrize(
    ("offset", "headers", "sent"),
    [
        (0, [("Content-Length", str(4 * MEGABYTE))], 4 * MEGABYTE),
        (0, [], 4 * MEGABYTE),
        (MEGABYTE, [("Content-Length", str(3 * MEGABYTE))], 3 * MEGABYTE),
        (MEGABYTE, [("Content-Length", "1000")], 1000),
    ],
)
def test_a_file_is_counted_however_it_is_sent(
    make_worker, exchange, recorder, get, file, sendfile, offset, headers, sent
):
    worker = make_worker(sends(file, offset, headers=headers), sendfile=sendfile)
    body = exchange(worker, get()).partition(b"\r\n\r\n")[2]
    assert len(body) >= sent
    assert recorder.total(SENT) == sent


@pytest.mark.parametrize("sendfile", [True, False])
def test_of_a_file_only_that_is_counted_that_was_sent_before_the_client_left(
    make_worker, exchange, recorder, get, file, sendfile
):
    read = []

    def leaves(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(get("/a"))
        while sum(read) < MEGABYTE:
            read.append(len(sock.recv(65536)))

    headers = [("Content-Length", str(4 * MEGABYTE))]
    exchange(make_worker(sends(file, headers=headers), sendfile=sendfile), b"", client=leaves)
    assert recorder.requests() == {("GET", "/a", "200"): 1}
    assert MEGABYTE - 1000 <= recorder.total(SENT) < 4 * MEGABYTE
