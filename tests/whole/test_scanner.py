"""A stranger asks for whatever comes to mind: what is recorded of that stays small."""

from __future__ import annotations

import itertools
import random
import socket
from statistics import median

import psutil
import pytest

FINE = "gunicorn_http_request_duration_seconds"
FOLDED = "gunicorn_exporter_labels_folded_total"
METHODS = {"GET", "_OTHER"}

RANDOM = random.Random(1)


def garbage(length):
    """Header text that Gunicorn lets through."""
    return bytes(RANDOM.choices(range(0x21, 0x7F), k=length))


def request(path, method, header):
    return (
        b"%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nX-Request-Start: %s\r\n"
        b"X-Queue-Start: t=%s\r\nTraceparent: %s\r\nReferer: %s\r\nCookie: %s\r\n\r\n"
    ) % (method, path, *[header] * 7)


class Scanner:
    """Asks over one connection, some requests at a time."""

    TOGETHER = 50

    def __init__(self, server, body):
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self._body = body
        self._numbers = itertools.count()

    def ask(self, number, path=b"/ping-%d"):
        """Ask for so many paths that were not there before."""
        for _ in range(number // self.TOGETHER):
            requests = b"".join(
                request(path % n, b"GET" if n % 3 else b"METHOD%d" % (n // 3 % 1000), garbage(30))
                for n in itertools.islice(self._numbers, self.TOGETHER)
            )
            self._socket.sendall(requests)
            answered = b""
            while answered.count(self._body) < self.TOGETHER:
                data = self._socket.recv(1 << 20)
                assert data, answered[-200:]
                answered += data

    def close(self):
        self._socket.close()


def endpoints(scrape):
    return {dict(pairs)["endpoint"] for pairs in scrape.values(f"{FINE}_count")}


def methods(scrape):
    return {dict(pairs)["method"] for pairs in scrape.values(f"{FINE}_count")}


def scrape_seconds(server):
    """CPU time that the exporter needs for a scrape, the median of some."""
    times = []
    exporter = psutil.Process(server.exporter())
    for _ in range(15):
        before = sum(exporter.cpu_times()[:2])
        for _ in range(5):
            server.scrape()
        times.append(sum(exporter.cpu_times()[:2]) - before)
    return median(times)


@pytest.mark.timeout(180)
def test_a_scanner_adds_no_more_than_the_limits(server):
    options = ["-k", "gunicorn_prometheus_exporter.PrometheusGeventWorker", "--keep-alive", "60"]
    gunicorn = server("-w", "1", *options, "--access-logfile", "/dev/null").start()
    (worker,) = gunicorn.workers()
    scanner = Scanner(gunicorn, b"pong")
    scanner.ask(10_000)
    first = gunicorn.scrape()
    memory, seconds = psutil.Process(worker).memory_info().rss, scrape_seconds(gunicorn)
    scanner.ask(40_000)
    scanner.close()
    now = gunicorn.scrape()
    assert len(endpoints(now) - {"_other_", "_unmatched_"}) <= 100
    assert methods(now) <= METHODS
    assert now.samples.keys() == first.samples.keys()
    assert now.sum(f"{FINE}_count") >= 50_000
    assert now.sum(FOLDED, label="endpoint") >= 49_800
    assert now.sum("gunicorn_exporter_recording_errors_total") == 0
    assert psutil.Process(worker).memory_info().rss < memory + 3_000_000
    assert scrape_seconds(gunicorn) < seconds * 1.5 + 0.05


def test_a_scanner_of_an_application_with_routes_adds_nothing_but_what_has_no_route(server):
    options = ["-k", "gunicorn_prometheus_exporter.PrometheusGeventWorker", "--keep-alive", "60"]
    gunicorn = server("-w", "1", *options, app="frameworks.flask_app:app").start()
    scanner = Scanner(gunicorn, b"</p>")
    scanner.ask(2_000, b"/nowhere/%d")
    scanner.close()
    now = gunicorn.scrape()
    assert endpoints(now) == {"/ping", "_unmatched_"}
    assert methods(now) <= METHODS
    assert now.sum(f"{FINE}_count", endpoint="_unmatched_", status="404") == 2_000
    assert now.sum(FOLDED) == 0


@pytest.mark.compat
def test_strangers_make_no_series_on_any_kind_of_worker(server, kind):
    limit = {"GUNICORN_PROMETHEUS_ENDPOINT_LIMIT": "5"}
    gunicorn = server("-w", "1", *kind.arguments(), app=kind.app, **limit).start()
    for n in range(60):
        with socket.create_connection(("127.0.0.1", gunicorn.port), timeout=30) as client:
            path = b"/ping-%d" % n if n % 2 else b"/nowhere/%d" % n
            text = request(path, b"METHOD%d" % n if n % 3 == 0 else b"GET", garbage(20))
            client.sendall(text.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            while client.recv(65536):
                pass
    now = gunicorn.scrape()
    assert len(endpoints(now) - {"_other_", "_unmatched_"}) <= 5
    assert methods(now) <= METHODS
