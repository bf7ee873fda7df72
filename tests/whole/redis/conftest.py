"""Servers that share a Redis, and what is done to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PUBLISH_SECONDS = 0.2
TIMEOUT_SECONDS = 0.3
TTL_SECONDS = 4.0
SETTINGS = {
    "REDIS_ENABLED": "true",
    "GUNICORN_PROMETHEUS_PUBLISH_SECONDS": str(PUBLISH_SECONDS),
    "GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    "REDIS_TTL_SECONDS": str(TTL_SECONDS),
}


@pytest.fixture(scope="session")
def redis_settings() -> dict[str, str]:
    return SETTINGS


class Proxy:
    """Between the exporters and Redis: passes on, late if told so, or not at all."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.to = to
        self.delay = 0.0
        self.refuses = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._spawn(self._accept)

    @staticmethod
    def _spawn(target: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.refuses:
                    raise OSError
                server = socket.create_connection(self.to, 1)
            except OSError:
                client.close()
                continue
            self._sockets += [client, server]
            self._spawn(self._pass, client, server, False)
            self._spawn(self._pass, server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_answer and self.delay:
                    time.sleep(self.delay)
                target.sendall(data)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut all connections."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()
        for sock in self._sockets:
            sock.close()


@pytest.fixture(scope="module")
def proxy(redis_server: Any) -> Iterator[Proxy]:
    proxy = Proxy((redis_server.host, redis_server.port))
    yield proxy
    proxy.close()


class Load:
    """Asks a server for its front page again and again, one request after the other."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._thread = threading.Thread(target=self._run)
        self._go = threading.Event()
        self._idle = threading.Event()
        self._ended = False
        #: How long each request has taken, in seconds.
        self.seconds: list[float] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Load:
        self._go.set()
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended = True
        self._go.set()
        self._thread.join(60)
        if kind is None:
            assert not self.errors, self.errors[:3]

    @property
    def count(self) -> int:
        return len(self.seconds)

    def pause(self) -> None:
        """Finish the request under way and send no more."""
        if not self._go.is_set():
            return
        self._idle.clear()
        self._go.clear()
        assert self._idle.wait(60)

    def resume(self) -> None:
        self._go.set()

    def p99(self, since: int = 0) -> float:
        return statistics.quantiles(self.seconds[since:], n=100)[-1]

    def _run(self) -> None:
        while True:
            if not self._go.is_set():
                self._idle.set()
                self._go.wait()
            if self._ended:
                return
            start = time.perf_counter()
            try:
                connection = http.client.HTTPConnection(
                    self.server.host, self.server.port, timeout=60
                )
                with contextlib.closing(connection):
                    connection.request("GET", "/", headers={"Connection": "close"})
                    response = connection.getresponse()
                    assert (response.status, response.read()) == (200, b"hello")
            except BaseException as error:
                self.errors.append(error)
                self._idle.set()
                raise
            self.seconds.append(time.perf_counter() - start)
            time.sleep(0.002)


@pytest.fixture(scope="session")
def steady() -> type[Load]:
    return Load


class Sidecar:
    """An exporter started by hand, which has nothing but Redis."""

    def __init__(self, folder: Path, server_class: Any, host: str, **environ: str) -> None:
        self._seen = server_class(folder)  # knows how to scrape
        self._seen.host = host
        self.scrape = self._seen.scrape
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PROMETHEUS_", "REDIS_", "GUNICORN_"))
        }
        self.log_path = folder / "sidecar.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn_prometheus_server"],
                env={
                    **clean,
                    **SETTINGS,
                    "PROMETHEUS_METRICS_PORT": str(self._seen.metrics_port),
                    "PROMETHEUS_BIND_ADDRESS": host,
                    **environ,
                },
                stdout=log,
                stderr=log,
            )
        self.is_scrapable = self._seen.is_scrapable
        self.host, self.metrics_port = host, self._seen.metrics_port

    def end(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(10) == 0
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def sidecar(tmp_path: Path, server_class: Any, wait: Any) -> Iterator[Callable[..., Sidecar]]:
    """Starts sidecars; they are ended with the test."""
    made: list[Sidecar] = []

    def start(host: str = "127.0.0.1", **environ: str) -> Sidecar:
        folder = tmp_path / f"sidecar{len(made)}"
        folder.mkdir()
        made.append(Sidecar(folder, server_class, host, **environ))
        wait(made[-1].is_scrapable, made[-1].log_path.read_text)
        return made[-1]

    yield start
    for each in made:
        each.end()


@pytest.fixture
def kill_host() -> Callable[[Any], None]:
    """Kills all processes of a server at once, as a host that fails does."""

    def kill(server: Any) -> None:
        family = server.family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        for process in (*family, *server.family()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        server.process.wait(10)
        psutil.wait_procs(family, timeout=10)
        server.process = None

    return kill
