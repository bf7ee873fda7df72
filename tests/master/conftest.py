"""Real processes and sockets; the server's part is a stand-in that is found by its entry point."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_master.exporter import Exporter

#: Answers every connection with its pid and arguments; what it is told to, it does.
SERVER = """
import json, os, socket, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
settings = open(int(arguments["--settings"]), closefd=False).read()
print("stand-in begins", flush=True)
listener = socket.socket(fileno=int(arguments["--fd"]))
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    with connection:
        told = connection.recv(100)
        if told == b"end with 3":
            os._exit(3)
        facts = {"pid": os.getpid(), "argv": sys.argv[1:], "settings": settings,
                 "session": os.getsid(0),
                 "safe_path": getattr(sys.flags, "safe_path", None),
                 "uid": os.geteuid(), "gid": os.getegid(),
                 "fds": sorted(map(int, os.listdir("/proc/self/fd")))}
        connection.sendall(json.dumps(facts).encode())
"""


@pytest.fixture
def server(monkeypatch):
    """A distribution with the part that serves, for this process and for those it starts.

    In a folder that other users can read, which tmp_path is not.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield install_server(Path(folder), monkeypatch)


def install_server(site, monkeypatch):
    info = site / "stand_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gunicorn_prometheus.server]\ndefault = stand_in_server.__main__:main\n"
    )
    package = site / "stand_in_server"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SERVER)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    return package


@pytest.fixture
def no_server(monkeypatch):
    """No distribution that serves is installed."""
    monkeypatch.setattr(sys, "path", [])


@pytest.fixture
def free_port(find_port):
    return find_port()


class Counts:
    restarts = 0
    bind_failures = 0


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def make_exporter(tmp_path, free_port, counts):
    made = []

    def restarted():
        counts.restarts += 1

    def bind_failed():
        counts.bind_failures += 1

    def make(address="127.0.0.1", port=free_port, uid=None, gid=None, inherited=()):
        made.append(
            Exporter(
                Settings(bind_address=address, metrics_port=port),
                str(tmp_path / "pages"),
                uid=os.geteuid() if uid is None else uid,
                gid=os.getegid() if gid is None else gid,
                log_path=str(tmp_path / "log"),
                inherited=inherited,
                on_restart=restarted,
                on_bind_failure=bind_failed,
            )
        )
        return made[-1]

    yield make
    for exporter in made:
        exporter.stop()


@pytest.fixture
def logged():
    """What we log."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("gunicorn.error.prometheus")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def ask():
    """Connects, says something, and gives the answer; nothing may refuse the connection."""

    def talk(port, words=b"who are you", host="127.0.0.1"):
        with socket.create_connection((host, port), timeout=20) as sock:
            sock.sendall(words)
            with contextlib.suppress(ConnectionResetError), sock.makefile("rb") as file:
                return file.read()
        return b""

    return talk


@pytest.fixture
def child():
    """Forks children that run a function; those left are killed."""
    pids = []

    def fork(function):
        pid = os.fork()
        if pid == 0:
            try:
                function()
            finally:
                os._exit(0)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
