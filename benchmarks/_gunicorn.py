"""Running Gunicorn servers to be measured, and asking them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

HERE = Path(__file__).parent
_PATIENCE = 60.0
_given: set[int] = set()


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait until something is true. Raises TimeoutError, saying what, after a minute."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_PATIENCE:g} s for {what()}")
        time.sleep(0.02)


def free_port() -> int:
    """A port of the loopback address that nobody uses and that was not given before.

    None of those that the system gives to outgoing connections, of which we make many.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def get(port: int, path: str = "/", host: str = "127.0.0.1", header: str = "") -> bytes:
    """The body of an answer, over a connection of its own. Raises OSError when it isn't 200.

    ``header`` is a further line of the request, with its end.
    """
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n"
    request = head.encode()
    with socket.socket() as sock:
        sock.connect((host, port))
        sock.sendall(request)
        answer = bytearray()
        while data := sock.recv(1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"{path} answered {bytes(head[:80])!r}")
    return bytes(body)


class Server:
    """A Gunicorn that has been started."""

    def __init__(self, process: subprocess.Popen[bytes], ports: tuple[int, int], log: Path) -> None:
        self.pid = process.pid
        self.port, self.metrics_port = ports
        self._popen = process
        self._process = psutil.Process(process.pid)
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ready(self) -> None:
        """Wait until it answers. Ends this program when Gunicorn has ended instead."""
        wait_until(self._answers, lambda: f"an answer; its log:\n{self.log}")

    def _answers(self) -> bool:
        if self._popen.poll() is not None:
            raise SystemExit(f"Gunicorn has ended; its log:\n{self.log}")
        try:
            return bool(get(self.port))
        except OSError:
            return False

    def workers(self) -> list[int]:
        """Pids of the worker processes: forks, whereas our exporter process is another program."""
        command = self._process.cmdline()
        children = []
        for child in self._process.children():
            with contextlib.suppress(psutil.Error):
                if child.cmdline() == command:
                    children.append(child.pid)
        return children

    def end(self) -> None:
        """Ask it to end, without waiting."""
        self._popen.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def gunicorn(
    app: str,
    config: Path,
    *,
    workers: int = 1,
    python: str = sys.executable,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server for a module of this folder, which may take a moment to be ready; end it.

    ``config`` is a Gunicorn configuration file; its folder is where the server works and logs.
    The environment is ours without what configures metrics, plus ``environ`` and a free
    PROMETHEUS_METRICS_PORT on the loopback.
    """
    port, metrics_port = free_port(), free_port()
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROMETHEUS_", "GUNICORN_", "REDIS_"))
    }
    clean |= {
        "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
        "PROMETHEUS_METRICS_PORT": str(metrics_port),
        **(environ or {}),
    }
    command = [
        *(python, "-m", "gunicorn", app),
        *("--config", str(config)),
        *("--bind", f"127.0.0.1:{port}"),
        *("--workers", str(workers)),
        *("--pythonpath", str(HERE)),
        *("--log-level", "warning"),
        *options,
    ]
    log = config.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=config.parent, env=clean, stdout=output, stderr=output
        )
    server = Server(process, (port, metrics_port), log)
    try:
        yield server
    finally:
        server.end()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            for left in (*psutil.Process(process.pid).children(recursive=True), process):
                left.kill()
            process.wait()
