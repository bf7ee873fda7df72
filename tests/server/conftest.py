"""The real program on a real socket, serving what prometheus_client has written."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time

import pytest

#: An application that records with prometheus_client's own multiprocess mode.
APPLICATION = """
from prometheus_client import Counter, Gauge, Histogram
jobs = Counter("jobs", "Jobs done.", ["q"])
jobs.labels("x").inc(3)
jobs.labels("größe").inc()
Gauge("depth", "Depth.", multiprocess_mode="max").set(7)
Histogram("took_seconds", "Time.", buckets=[1, 2]).observe(1.5)
Counter("dotted.name", "A name of the new sort.").inc()
"""


@pytest.fixture
def until():
    """Polls until a condition holds and gives what it gave; fails with what was seen last."""

    def wait(condition, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not (seen := condition()):
            assert time.monotonic() < deadline, f"{condition} still gives {seen!r}"
            time.sleep(0.005)
        return seen

    return wait


def environment(**more):
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROMETHEUS_", "REDIS_", "GUNICORN_", "CLEANUP_", "SIDECAR_"))
    }
    return own | more


@pytest.fixture
def directory(tmp_path):
    """Pages that an application has recorded into."""
    path = tmp_path / "pages"
    path.mkdir()
    subprocess.run(
        [sys.executable, "-c", APPLICATION],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(path)),
        check=True,
    )
    return path


class Server:
    """The program, and the port it serves."""

    def __init__(self, process, port, log):
        self.process, self.port, self._log = process, port, log
        self.pid = process.pid

    def ask(self, path="/metrics", method="GET", **headers):
        """One request; gives status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    @property
    def log(self):
        return self._log.read_text()


@pytest.fixture
def start(tmp_path, directory):
    """Starts the program on a listening socket of ours; it is ended with the test."""
    started = []

    def start_server(*arguments, prefix=(), env=None):
        sock = socket.create_server(("127.0.0.1", 0))
        log = tmp_path / f"log{len(started)}"
        command = [*prefix, sys.executable, "-m", "gunicorn_prometheus_server"]
        with sock, open(log, "wb") as output:
            process = subprocess.Popen(
                [*command, "--fd", str(sock.fileno()), "--directory", directory, *arguments],
                pass_fds=[sock.fileno()],
                env=environment(**(env or {})),
                stdout=output,
                stderr=output,
            )
            started.append(Server(process, sock.getsockname()[1], log))
        return started[-1]

    yield start_server
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def run(tmp_path):
    """Runs the program where it ends by itself; gives its status and what it said."""

    def run_server(*arguments, **env):
        done = subprocess.run(
            [sys.executable, "-m", "gunicorn_prometheus_server", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
            env=environment(**env),
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run_server
