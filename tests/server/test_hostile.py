"""Clients that are slow, silent, greedy or wrong, while somebody else scrapes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

REFUSED = "gunicorn_exporter_refused_total"
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
#: For clients that are given up on within the time of a test.
IMPATIENT = {"GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS": "0.5"}


class Scraper:
    """Scrapes without a pause, on a new connection each time. None may fail or take long."""

    def __init__(self, server):
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seconds, self.failures = [], []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        self._thread.join(30)
        if kind is None:
            assert not self.failures
            assert len(self.seconds) > 3
            # A scrape takes some milliseconds; waiting for somebody else would take half a
            # second and more.
            assert sorted(self.seconds)[len(self.seconds) // 2] < 0.25

    def _run(self):
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                assert self._server.ask()[0] == 200
            except (AssertionError, OSError) as error:
                self.failures.append(error)
                return
            self.seconds.append(time.monotonic() - began)

    def more(self, number, until):
        target = len(self.seconds) + number
        until(lambda: self.failures or len(self.seconds) >= target)


@pytest.fixture(params=["plain", "tls"])
def either(request, start, certificates):
    """Starts a server that speaks HTTP or HTTPS."""

    def start_server(**environment):
        tls = request.param == "tls"
        server = start(env=environment | (certificates.settings if tls else {}))
        server.context = certificates.context() if tls else None
        return server

    return start_server


@pytest.fixture
def bare():
    """Opens connections without TLS; they are closed with the test."""
    with contextlib.ExitStack() as stack:

        def connect(server):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.settimeout(20)
            return sock

        yield connect


def is_closed(sock):
    """Whether the other side has closed it."""
    with contextlib.suppress(ConnectionError):
        sock.setblocking(False)
        try:
            while sock.recv(1 << 16):
                pass
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
    return True


def test_who_says_nothing_holds_up_nobody_and_is_given_up_on(either, bare, until):
    server = either(**IMPATIENT)
    with Scraper(server) as scraper:
        silent = [bare(server) for _ in range(50)]
        scraper.more(5, until)
        until(lambda: all(map(is_closed, silent)))
    assert server.value(REFUSED, reason="slow_request") == 50
    assert server.log.count("refused a client") == 1


def test_who_sends_a_byte_now_and_then_is_given_up_on(either, until):
    server = either(**IMPATIENT)
    slow = [server.connect() for _ in range(20)]
    with Scraper(server) as scraper:
        left = list(slow)
        for byte in struct.unpack(f"{len(REQUEST)}c", REQUEST):
            scraper.more(1, until)
            for sock in list(left):
                with contextlib.suppress(OSError):
                    sock.send(byte)
            left = [sock for sock in left if not is_closed(sock)]
            if not left:
                break
            time.sleep(0.1)  # it is slow
        assert not left
    for sock in slow:
        sock.close()


def test_a_request_that_comes_in_pieces_is_answered(either):
    server = either()
    with server.connect() as sock:
        for byte in struct.unpack(f"{len(REQUEST)}c", REQUEST):
            sock.sendall(byte)
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def record(directory, number):
    """Have so many series there, of some 120 bytes each."""
    code = "from prometheus_client import Gauge\ng = Gauge('many', 'help', ['a'])\n"
    code += f"for n in range({number}): g.labels('x' * 90 + str(n)).set(n)\n"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def memory(server):
    return psutil.Process(server.pid).memory_info().rss


@pytest.mark.long
def test_who_reads_a_byte_now_and_then_holds_up_nobody_and_keeps_no_memory(either, directory):
    record(directory, 60_000)
    server = either(GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS="600")
    for _ in range(3):
        assert len(server.ask()[2]) > 6_000_000
    before = memory(server)
    slow = []
    for _ in range(60):
        sock = server.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(REQUEST)
        assert sock.recv(1)
        slow.append(sock)
    grown = memory(server) - before
    assert grown < 250 << 20, "60 answers are 400 MB"
    assert server.value("gunicorn_exporter_scrapes_total") > 60
    assert server.value(REFUSED, reason="crowded") > 0
    for sock in slow:
        sock.close()


@pytest.mark.long
def test_who_never_reads_is_given_up_on(either, directory, until):
    record(directory, 3_000)
    server = either(GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS="0.5")
    assert 300_000 < len(server.ask()[2]) < 500_000  # at 64 KiB a second
    sock = server.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.sendall(REQUEST)
    with Scraper(server):
        until(lambda: server.value(REFUSED, reason="slow_reader") == 1, 30)
    sock.close()


@pytest.mark.long
def test_five_hundred_connections_and_more_hold_up_nobody(either, bare, until):
    server = either()
    with Scraper(server) as scraper:
        crowd = [bare(server) for _ in range(900)]
        scraper.more(5, until)
        assert psutil.Process(server.pid).num_fds() < 700
        # Those who came first had to go.
        assert is_closed(crowd[0])
        assert not is_closed(crowd[-1])
    assert server.value(REFUSED, reason="crowded") >= 300
    assert server.log.count("refused a client") == 1


def test_where_few_descriptors_can_be_had_scrapes_go_on(start, bare, until):
    server = start(prefix=["prlimit", "--nofile=64:64"])
    with Scraper(server) as scraper:
        crowd = []
        # Not all at once: with so few places, who has connected and is too busy to ask can't be
        # told from who is silent.
        for _ in range(10):
            crowd += [bare(server) for _ in range(20)]
            scraper.more(1, until)
        assert is_closed(crowd[0])
    assert "Traceback" not in server.log


def answer_to(sock, sent):
    """What comes back, to the end."""
    with contextlib.suppress(ConnectionError):
        for piece in sent:
            sock.sendall(piece)
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(1 << 16):
            received += data
    return received


def test_a_megabyte_of_headers_is_too_much(either, until):
    server = either()
    with Scraper(server) as scraper:
        for line in (b"X-Long: " + b"x" * 1_000_000 + b"\r\n", b"X-Many: x\r\n" * 100_000):
            with server.connect() as sock:
                received = answer_to(sock, [b"GET /metrics HTTP/1.1\r\nHost: x\r\n", line])
            assert received.startswith(b"HTTP/1.1 431 ")
        scraper.more(3, until)
    assert server.value(REFUSED, reason="large_request") == 2
    assert memory(server) < 150 << 20


@pytest.mark.parametrize(
    "broken",
    [
        b"nonsense\r\n\r\n",
        b"GET /metrics HTTP/one\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /me trics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: one\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        b"\0\xff" * 1000 + b"\r\n\r\n",
    ],
)
def test_a_broken_request_is_a_bad_one(either, broken):
    server = either()
    with server.connect() as sock:
        received = answer_to(sock, [broken])
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in received
    assert server.value(REFUSED, reason="bad_request") == 1


def test_http_10_is_answered_and_closed(either):
    server = either()
    with server.connect() as sock:
        received = answer_to(sock, [b"GET /metrics HTTP/1.0\r\n\r\n"])
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"jobs_total" in received


def test_a_post_with_a_body_is_not_allowed(either):
    server = either()
    head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with server.connect() as sock:
        received = answer_to(sock, [head, b"x" * 1_000_000])
    assert received.startswith(b"HTTP/1.1 405 ")
    assert b"connection: close\r\n" in received


def test_requests_that_were_sent_ahead_are_answered_in_order(either):
    server = either()
    paths = [b"/-/healthy", b"/missing", b"/-/healthy"]
    requests = b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths)
    with server.connect() as sock:
        sock.sendall(requests[:-2])
        with sock.makefile("rb") as file:
            found = []
            for number in range(3):
                if number == 2:
                    sock.sendall(requests[-2:])
                found.append(file.readline().split()[1])
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split()[1])
                file.read(length)
    assert found == [b"200", b"404", b"200"]


def test_who_sends_requests_ahead_without_end_holds_up_nobody(either, until):
    server = either()
    requests = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n" * 500
    waits = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    ended = threading.Event()

    def flood(sock):
        rest = b""
        while not ended.is_set():
            # There is always one more to be answered, and answers are taken.
            select.select([sock], [sock], [], 0.1)
            with contextlib.suppress(*waits):
                rest = rest or requests
                rest = rest[sock.send(rest) :]
            with contextlib.suppress(*waits):
                assert sock.recv(1 << 20)

    with server.connect() as sock, ThreadPoolExecutor() as pool:
        sock.setblocking(False)
        flooding = pool.submit(flood, sock)
        try:
            with Scraper(server) as scraper:
                scraper.more(10, until)
        finally:
            ended.set()
        flooding.result()


def test_what_a_broken_request_says_is_not_repeated(either, until):
    server = either()
    broken = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization : Basic c2VjcmV0\r\n\r\n"
    with server.connect() as sock:
        assert answer_to(sock, [broken]).endswith(b"\r\n\r\nillegal header line\n")
    until(lambda: "(illegal header line)" in server.log)
    assert "c2VjcmV0" not in server.log


def test_a_request_behind_chunks_is_not_answered(either):
    server = either()
    head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n"
    first = head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with server.connect() as sock:
        received = answer_to(sock, [first + head + b"\r\n"])
    assert received.count(b"HTTP/1.1 200 ") == 1
    assert b"connection: close\r\n" in received


@pytest.mark.parametrize(
    "target", [b"http://x:9091/-/healthy", b"/-/healthy?a=%2F", b"/-/health%79"]
)
def test_the_target_can_be_written_in_several_ways(either, target):
    server = either()
    with server.connect() as sock:
        request = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target
        assert answer_to(sock, [request]).startswith(b"HTTP/1.1 200 ")
