"""Waiting, and real Redis servers, for the tests of several folders."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _free_port() -> int:
    """A port that is free, as is the one 10,000 above it, where nodes of a cluster talk.

    Neither is one of those that the system gives to outgoing connections.
    """
    while True:
        port = random.randrange(10_000, 22_000)
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.create_server(("127.0.0.1", port + 10_000)),
        ):
            return port


class RedisServer:
    """A redis-server of ours, which keeps nothing on a disk."""

    def __init__(self, folder: Path, options: tuple[str, ...], program: str) -> None:
        self.folder, self._program = folder, program
        given = dict(zip(options[::2], options[1::2], strict=True))
        self.host = given.get("--bind", "127.0.0.1")
        self.tls = "--tls-port" in given
        self.port = int(given.get("--tls-port") or given.get("--port") or _free_port())
        plain = "0" if self.tls else str(self.port)
        own = {"--port": plain, "--bind": self.host, "--dir": str(folder), "--loglevel": "warning"}
        own |= {"--save": "", "--appendonly": "no", "--repl-diskless-load": "on-empty-db"}
        self._options = [item for pair in (own | given).items() for item in pair]
        self._process: subprocess.Popen[bytes] | None = None
        #: What redis-cli needs to log in.
        self.cli_options: list[str] = []

    def start(self) -> RedisServer:
        return self.run(self._options)

    def run(self, options: list[str]) -> RedisServer:
        command = [self._program, *options]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._is_open():
            said = (self.folder / "redis.log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
        return self

    def _is_open(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), 1).close()
            return True
        return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cli(self, *words: object) -> str:
        """What redis-cli prints for a command."""
        command = ["redis-cli", "-h", self.host, "-p", str(self.port), *self.cli_options]
        done = subprocess.run(
            [*command, *map(str, words)], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def redis_program() -> str:
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is missing: scripts/system-packages.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture(scope="module")
def start_redis(
    redis_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers with these options (``"--name", "value"``); they end with the module."""
    started: list[RedisServer] = []

    def start(*options: str, program: str = redis_program) -> RedisServer:
        folder = tmp_path_factory.mktemp("redis")
        started.append(RedisServer(folder, options, program))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def start_sentinel(
    redis_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int, str], RedisServer]]:
    """Starts Sentinels that watch the master at a port, with its password, as "metrics"."""
    started: list[RedisServer] = []

    def start(master: int, password: str) -> RedisServer:
        folder = tmp_path_factory.mktemp("sentinel")
        server = RedisServer(folder, (), redis_program)
        settings = [
            f"port {server.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor metrics 127.0.0.1 {master} 2",
            f"sentinel auth-pass metrics {password}",
            "sentinel down-after-milliseconds metrics 1000",
            "sentinel failover-timeout metrics 5000",
        ]
        (folder / "sentinel.conf").write_text("\n".join(settings))
        started.append(server.run([str(folder / "sentinel.conf"), "--sentinel"]))
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """One server for the whole module."""
    return start_redis()


@pytest.fixture(scope="session")
def find_port() -> Callable[[], int]:
    """Finds ports that are free, and that no other test is given by the system."""
    return _free_port


@pytest.fixture
def until() -> Callable[..., Any]:
    """Polls until a condition holds and gives what it gave; fails with what was seen last."""

    def wait(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (seen := condition()):
            assert time.monotonic() < deadline, f"{condition} still gives {seen!r}"
            time.sleep(0.005)
        return seen

    return wait
