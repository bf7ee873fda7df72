"""Starts examples as their readers do: by the command that stands in them, in a copy of the folder.

In the copy the ports 8000, 9091 and 6379 are replaced by free ones, and files below /etc, /run and
/var/log are below the copy.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_OURS = ("GUNICORN_", "PROMETHEUS_", "REDIS_", "SIDECAR_", "CLEANUP_")


def _wait_for(
    condition: Callable[[], Any], what: Callable[[], object], seconds: float = 30.0
) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s; last seen: {what()}")
        time.sleep(0.02)
    return result


def _free_port() -> int:
    """None of those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = re.findall(r"^(\w+)(?:{(.*)})? (\S+)$", text, re.MULTILINE)

    def sum(self, name: str, **labels: str) -> float:
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return sum(
            float(value)
            for sample, pairs, value in self._samples
            if sample == name and wanted <= set(pairs.split(","))
        )


class Shop:
    """A copy of the examples, and the server that runs in it."""

    def __init__(self, folder: Path, redis_port: int) -> None:
        self.folder = folder
        self.port, self.metrics_port = _free_port(), _free_port()
        self._redis_port = redis_port
        self._log = folder / "output.log"
        self.process: subprocess.Popen[bytes] | None = None
        #: For the metrics by TLS.
        self.context: ssl.SSLContext | None = None
        for path in EXAMPLES.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = folder / path.relative_to(EXAMPLES)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(self.replaced(path.read_text()))
        for path in ("var/log/gunicorn", "run/gunicorn", "run/secrets", "etc/gunicorn"):
            (folder / path).mkdir(parents=True)

    def replaced(self, text: str) -> str:
        ports = {"8000": self.port, "9091": self.metrics_port, "6379": self._redis_port}
        text = re.sub(rf"\b({'|'.join(ports)})\b", lambda found: str(ports[found[0]]), text)
        return re.sub(r"(?<![\w.}])(?=/(?:etc|run|var/log)/\w)", str(self.folder), text)

    def start(self, script: str, **environment: str) -> Shop:
        """Run a script, which ends with a command that serves, and wait until it does."""
        begun = re.sub(r"^((?:\w+=\S+ )*)gunicorn ", r"exec env \1gunicorn ", script, flags=re.M)
        assert begun != script, script
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-euc", begun],
                cwd=self.folder,
                env=self._environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        _wait_for(self._serves, lambda: self.log)
        return self

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # The home is where Gunicorn has its control socket.
        return kept | {"PATH": path, "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return _is_open(self.port) and _is_open(self.metrics_port)

    @property
    def log(self) -> str:
        """What the server has said, wherever."""
        logs = [self._log, *sorted((self.folder / "var/log/gunicorn").iterdir())]
        return "".join(path.read_text() for path in logs if path.exists())

    # Asking

    def ask(self, method: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def order(self, item: str, number: int = 1) -> None:
        for _ in range(number):
            assert self.ask("POST", f"/orders/{item}") == (201, f"{item}\n")

    def scrape(self) -> Scrape:
        scheme, host = ("http", "127.0.0.1") if self.context is None else ("https", "localhost")
        url = f"{scheme}://{host}:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=30, context=self.context) as response:
            return Scrape(response.read().decode())

    def wait_counted(self, name: str, total: float, **labels: str) -> Scrape:
        """A scrape in which the samples of that name add up to the total."""
        last: list[Scrape] = []

        def reached() -> bool:
            last[:] = [self.scrape()]
            return last[0].sum(name, **labels) == total

        _wait_for(
            reached,
            lambda: f"{name}{labels} is {last[0].sum(name, **labels)}, not {total}\n{self.log}",
        )
        return last[0]

    # Processes

    @property
    def workers(self) -> set[int]:
        assert self.process is not None
        pids = set()
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "gunicorn_prometheus_server" not in " ".join(child.cmdline()):
                    pids.add(child.pid)
        return pids

    def wait_for_workers(self, number: int) -> set[int]:
        """The workers, when they are that many and ready for signals."""
        self.wait_counted("gunicorn_worker_state", number, state="running")
        return _wait_for(
            lambda: pids if len(pids := self.workers) == number else None, lambda: self.log
        )

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self) -> None:
        """HUP, until all workers are new ones."""
        number = int(self.scrape().sum("gunicorn_workers"))
        old = self.wait_for_workers(number)
        self.send(signal.SIGHUP)
        _wait_for(lambda: len(pids := self.workers) == number and not pids & old, lambda: self.log)
        self.wait_for_workers(number)

    def end(self) -> None:
        """End it as an operator does: with success, and without leaving anything behind."""
        assert self.process is not None
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.send(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.log
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, self.log
        assert not re.search("Traceback|ERROR|CRITICAL", self.log), self.log

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait(10)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Gives what a condition gives as soon as that is true; fails after so many seconds."""
    return _wait_for


@pytest.fixture
def open_shop(tmp_path: Path, redis_server: Any) -> Iterator[Callable[[], Shop]]:
    """Makes copies of the examples, to start servers in; they are ended with the test."""
    redis_server.cli("flushall")
    made: list[Shop] = []

    def make() -> Shop:
        folder = tmp_path / f"shop{len(made)}"
        folder.mkdir()
        made.append(Shop(folder, redis_server.port))
        return made[-1]

    yield make
    for shop in made:
        shop.kill()


@pytest.fixture
def shop(open_shop: Callable[[], Shop]) -> Shop:
    """One copy of the examples."""
    return open_shop()


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES
