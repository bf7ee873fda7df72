"""Gunicorn's own workers and parser on real sockets; what they record stays in memory."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import threading
from _thread import RLock
from array import array
from collections import Counter

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi

from gunicorn_prometheus_core.recording import Cells
from gunicorn_prometheus_core.settings import DECLARATIONS, shown
from gunicorn_prometheus_workers.sync import PrometheusWorker

ADDRESS = ("127.0.0.1", 40000)

#: The part that gives workers their recorder, in a distribution of its own.
PAGES = """
recorder_in_use = None
class Pages:
    def recorder(self):
        return recorder_in_use
    def activate(self, directory):
        global recorder_in_use
        recorder_in_use = activated(directory)
        return recorder_in_use
"""


class MemoryPage:
    def __init__(self):
        self.view = array("d")
        self.places = {}


class MemoryRecorder:
    """What gunicorn_prometheus_core.recording.Recorder asks for, without files."""

    def __init__(self):
        self.lock = RLock()
        self.fork_role = "process"
        self.directory = "in memory"
        self.process = ""
        self.pages = {}
        self.remarks = {}
        self.noted = {}
        self.ticks = 0
        self.broken = False

    def cells(self, kind, keys):
        if self.broken:
            raise RuntimeError("recording is broken")
        page = self.pages.setdefault(kind, MemoryPage())
        for stored in keys:
            if stored not in page.places:
                page.places[stored] = len(page.view)
                page.view.append(0.0)
        return Cells(page, tuple(page.places[stored] for stored in keys))

    def remark(self, kind, key, remark):
        self.remarks[kind, key] = remark

    def keys(self, kind):
        return tuple(self.pages[kind].places) if kind in self.pages else ()

    def bind(self, role):
        self.process = f"{role}-0"
        return self.process

    def tick(self):
        self.ticks += 1
        if self.broken:
            raise RuntimeError("recording is broken")

    def note(self, **facts):
        self.noted |= facts

    def samples(self, name):
        """[(labels, value)] of the samples of that name, zeros left out."""
        found = []
        for page in self.pages.values():
            for stored, at in page.places.items():
                _, sample, labels, _ = json.loads(stored)
                if sample == name and page.view[at]:
                    found.append((labels, page.view[at]))
        return found

    def total(self, name, **labels):
        """Sum over the samples that have these labels."""
        return sum(value for given, value in self.samples(name) if labels.items() <= given.items())

    def requests(self):
        """How many requests were recorded by method, endpoint and status."""
        counts = Counter()
        for labels, value in self.samples("gunicorn_http_request_duration_seconds_bucket"):
            counts[labels["method"], labels["endpoint"], labels["status"]] += value
        return counts


@pytest.fixture
def recorder():
    return MemoryRecorder()


@pytest.fixture
def pages(tmp_path, monkeypatch, recorder):
    """A distribution with the storage "mmap" that gives the recorder."""
    site = tmp_path / "site"
    info = site / "memory_pages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memory-pages\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gunicorn_prometheus.storage]\nmmap = memory_pages:Pages\n"
    )
    (site / "memory_pages.py").write_text(PAGES)
    monkeypatch.syspath_prepend(str(site))
    import memory_pages

    memory_pages.recorder_in_use = recorder
    yield memory_pages
    sys.modules.pop("memory_pages", None)


@pytest.fixture
def in_force(monkeypatch):
    """Puts settings in force, for workers that are made afterwards."""

    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv(DECLARATIONS[name].variable, shown(value))

    return put


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def logged():
    """What we log; Gunicorn's logger keeps it from pytest's caplog."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("gunicorn.error.prometheus")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture
def make_worker(pages, listener, monkeypatch):
    """Makes a worker that has begun, as after its fork, with a WSGI application."""
    monkeypatch.setattr(wsgi, "Response", wsgi.Response)  # restored at the end
    # A worker sets it where it isn't; taken away again at the end.
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    made = []

    def make(application, kind=PrometheusWorker, **settings):
        class Application:
            def wsgi(self):
                return application

        cfg = Config()
        for name, value in settings.items():
            cfg.set(name, value)
        log = Logger(cfg)
        worker = kind(1, os.getppid(), [listener], Application(), 30, cfg, log)
        made.append(worker)
        worker.load_wsgi()
        return worker

    yield make
    for worker in made:
        worker.tmp.close()
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).handlers.clear()


@pytest.fixture
def exchange(listener):
    """Lets a worker handle one request; gives what the client got.

    ``client`` is called with the connection in a thread of its own, in place
    of sending the request and reading the answer.
    """

    def talk(worker, request, client=None):
        ours, theirs = socket.socketpair()
        got = []

        def usual(sock):
            # Gunicorn 21 closes a connection with what was not read of a body still in it.
            with contextlib.suppress(ConnectionResetError):
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
                with sock.makefile("rb") as file:
                    got.append(file.read())

        def run():
            with theirs:
                (client or usual)(theirs)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            worker.handle(listener, ours, ADDRESS)
        finally:
            ours.close()
            thread.join()
        return got[0] if got else None

    return talk


@pytest.fixture
def get():
    """A request's bytes."""

    def request(path="/", method="GET", body=b"", headers=()):
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    return request
