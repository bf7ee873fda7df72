"""Hosts that publish to a real Redis, without Gunicorn: pages, a backend, and what was counted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from array import array
from collections import Counter
from fractions import Fraction

import pytest
from redis import Redis

from gunicorn_prometheus_core.configuration import load
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_storage_redis import care as care_module
from gunicorn_prometheus_storage_redis import storage as storage_module
from gunicorn_prometheus_storage_redis.backend import RedisBackend


class Page:
    """The values of one process and kind, as storage-mmap's reader would show them."""

    def __init__(self, process, kind):
        self.process, self.kind = process, kind
        self.keys, self.at, self.places = [], [], {}
        self.values = array("d", [0.0])

    def cell(self, stored):
        if stored not in self.places:
            self.places[stored] = len(self.values)
            self.at.append(len(self.values))
            self.keys.append(stored)
            self.values = array("d", self.values)  # as a page that grows is mapped anew
            self.values.extend((0.0, 0.0))
        return self.places[stored]

    def snapshot(self):
        return Snapshot(self.process, self.kind, self.keys, self.at, memoryview(self.values))


class Host:
    """A host: what it has recorded, and its exporter's backend."""

    def __init__(self, directory, **environ):
        self.directory, self.environ = directory, environ
        self.pages = {}
        self.storage = None
        self.start()

    def start(self):
        """Start an exporter, in place of the one there was."""
        if self.storage is not None:
            self.storage.close()
        self.storage = RedisBackend().open(load(self.environ), str(self.directory))

    def page(self, process, kind):
        if (process, kind) not in self.pages:
            role, _, number = process.rpartition("-")
            known = Process(process, role, number, alive=True, pid=77, started=1000.0)
            self.pages[process, kind] = Page(known, kind)
        return self.pages[process, kind]

    def count(self, name, amount=1, process="worker-0", **labels):
        page = self.page(process, "counter")
        at = page.cell(key(name, f"{name}_total", labels, "help"))
        page.values[at] += amount

    def set(self, name, value, mode, process="worker-0", stamp=1.0):
        page = self.page(process, f"gauge_{mode}")
        at = page.cell(key(name, name, {}, "help"))
        page.values[at], page.values[at + 1] = value, stamp

    def snapshots(self):
        return [page.snapshot() for page in self.pages.values()]

    def publish(self):
        self.storage.publish(self.snapshots())

    @property
    def instance(self):
        return self.storage.instance

    def everything(self):
        """All snapshots in view: own ones and others'."""
        return [*self.snapshots(), *self.storage.collect()]

    def totals(self):
        """Counters by name and labels, added up exactly."""
        totals = Counter()
        for snapshot in self.everything():
            if snapshot.kind == "counter":
                for stored, at in zip(snapshot.keys, snapshot.at, strict=True):
                    _, name, labels, _ = json.loads(stored)
                    value = Fraction(snapshot.values[at])
                    totals[" ".join((name.removesuffix("_total"), *labels.values()))] += value
        return {name: float(value) for name, value in totals.items()}


@pytest.fixture
def prefix(request, redis_server):
    """Keys of this test alone in the module's server, which is empty before."""
    redis_server.cli("flushall")
    return "test"


@pytest.fixture
def environ(redis_server, prefix):
    return {
        "REDIS_PORT": str(redis_server.port),
        "REDIS_KEY_PREFIX": prefix,
        "GUNICORN_PROMETHEUS_PUBLISH_SECONDS": "0.1",
        "GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS": "0.5",
        "REDIS_TTL_SECONDS": "0.5",
    }


@pytest.fixture
def host(tmp_path, environ):
    """Makes hosts by name."""
    made = []

    def make(name="host", **more):
        directory = tmp_path / f"{name}-{len(made)}"
        directory.mkdir()
        made.append(Host(directory, **{**environ, "GUNICORN_PROMETHEUS_INSTANCE": name, **more}))
        return made[-1]

    yield make
    for each in made:
        each.storage.close()


class Wire:
    """Stands between a client and a server, counting commands, and can fall silent or cut off."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent, self.received = bytearray(), bytearray()
        #: What the server says after that many bytes of its answers is not passed on.
        self.answers = None
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [client, server]
            for source, target, log in (
                (client, server, self.sent),
                (server, client, self.received),
            ):
                threading.Thread(target=self._pass, args=(source, target, log), daemon=True).start()

    def _pass(self, source, target, log):
        try:
            while data := source.recv(1 << 16):
                log += data
                if target in self._sockets[::2] and self.answers is not None:
                    if self.answers <= 0:
                        break
                    self.answers -= 1
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def clear(self):
        self.sent.clear()
        self.received.clear()

    def commands(self):
        """The commands that were sent."""
        rest, found = bytes(self.sent), []
        while rest.startswith(b"*"):
            head, _, rest = rest.partition(b"\r\n")
            words = []
            for _ in range(int(head[1:])):
                size, _, rest = rest.partition(b"\r\n")
                words.append(rest[: int(size[1:])])
                rest = rest[int(size[1:]) + 2 :]
            found.append(words)
        return found

    def close(self):
        self._listener.close()
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def wire(redis_server):
    wire = Wire(redis_server.port)
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def free_port(find_port):
    return find_port


class Clock:
    """Time as the backend sees it, which we make pass."""

    def __init__(self):
        self.passed = 0.0

    def monotonic(self):
        return self.passed

    def time(self):
        return 1_700_000_000.0 + self.passed


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (storage_module, care_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def redis(redis_server):
    with Redis(port=redis_server.port) as client:
        yield client
