"""Runs the examples of the pages, as a reader would: in order, in one folder.

A block is what its fence says:

* `bash` is run to its end and has to succeed
* `bash server` is started and runs until the next of its kind or the end of the page; what follows
  waits until it listens
* `bash prometheus` likewise, beside it
* `bash background` runs until the end of the page, too, and nobody waits for it
* `bash clone` is run in the root of this repository, with a new virtual environment that what
  follows on the page uses, too
* `python`, `yaml` or `toml` that begins with a comment such as `# name.py` becomes that file;
  other `python` is run
* everything else (`console`, `text`, `yaml`, ...) is to be read

The ports 8000, 9095, 9091 and 9092, and the directory /run/metrics, are replaced by free ones.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from gunicorn.config import KNOWN_SETTINGS

#: Pages with examples that run, and what their output has to contain.
PAGES = {
    "README.md": [
        "Hello\n",
        'endpoint="/",method="GET",status="200"} 1.0\n',
        "\ngunicorn_workers 2.0\n",
        "hello_greetings_total 1.0\n",
    ],
    "docs/how-to/application-metrics.md": [
        'shop_build_info{version="1.4.2"} 1.0\n',
        'shop_phase{shop_phase="open"} 1.0\n',
        'shop_orders_total{kind="tea"} 1.0 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 1.0 ',
        "shop_order_seconds_count 2.0\n",
        "shop_waiting ",
    ],
    "docs/how-to/backends.md": [
        "\tfrom the environment\n",
        " passed in ",
        "gunicorn_exporter_storage_up 1.0",
    ],
    "docs/how-to/frameworks.md": [
        'endpoint="/orders/<kind>",method="POST",status="200"} 1.0\n',
        'shop_orders_total{kind="tea"} 1.0\n',
        'endpoint="/invoices/<int:number>/",method="GET",status="200"} 1.0\n',
        'endpoint="/items/{number}",method="GET",status="200"} 1.0\n',
    ],
    "docs/how-to/from-0.2.md": [],
    "docs/how-to/from-prometheus-flask-exporter.md": [
        'flask_http_request_total{method="GET",status="200"} 1.0\n',
        'endpoint="/orders/<int:number>",method="GET",status="200"} 1.0\n',
    ],
    "docs/how-to/from-statsd.md": [],
    "docs/how-to/upgrades.md": [
        '_total{cause="reload",worker_id="0"} 1.0',
        'endpoint="/",method="GET",status="200"} 3.0\n',
    ],
    "docs/reference/commands.md": ["\ngunicorn-prometheus-core\t"],
    "docs/how-to/installing.md": [],
    "docs/reference/metrics.md": [],
    "docs/reference/requests.md": [
        'endpoint="/users/{name}",method="GET",status="200"} 2.0\n',
        'endpoint="_unmatched_",method="GET",status="404"} 1.0\n',
        "/pots/7 has the route '/pots/{number}'\n/cups/7 has the route ''\n",
    ],
    "docs/reference/settings.md": ["\ngunicorn_workers 2.0\n"],
    "docs/tutorial.md": ['endpoint="/fast",method="GET",status="200"} 1.0\n'],
    "docs/how-to/workers.md": ["Hello\n", 'gunicorn_worker_capacity{worker_id="0"} 1000.0\n'],
    "packages/core/README.md": ["Settings(", "mmap"],
    "packages/storage-mmap/README.md": [],
    "packages/workers/README.md": [],
}
TUTORIAL = "docs/tutorial.md"
PORTS = ("8000", "9095", "9091", "9092")


class Block(NamedTuple):
    language: str
    manner: str
    text: str


def blocks(page: str) -> list[Block]:
    pattern = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(*found) for found in pattern.findall(page)]


def test_these_are_all_pages_with_examples(pages: dict[str, str]) -> None:
    having = {
        page
        for page, text in pages.items()
        if any(block.language in ("bash", "python") for block in blocks(text))
    }
    assert having == set(PAGES)


class Reader:
    """Does what a page says."""

    def __init__(self, folder: Path, repository: Path, wait_for: Any, is_open: Any) -> None:
        self._folder, self._repository = folder / "work", repository
        self._folder.mkdir()
        self._metrics = folder / "metrics"
        self._metrics.mkdir()
        self._wait_for, self._is_open = wait_for, is_open
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._log = folder / "log"
        self._venv = folder / "venv"
        with contextlib.ExitStack() as held:
            sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
            free = [sock.getsockname()[1] for sock in sockets]
        self._ports = dict(zip(PORTS, map(str, free), strict=True))
        binding = [f"--bind=127.0.0.1:{self._ports['8000']}"]
        if any("--no-control-socket" in (setting.cli or ()) for setting in KNOWN_SETTINGS):
            binding.append("--no-control-socket")
        self._environment = os.environ | {
            "GUNICORN_CMD_ARGS": " ".join(binding),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
            "PROMETHEUS_METRICS_PORT": self._ports["9091"],
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TMPDIR": str(folder),
        }

    def read(self, page: str) -> str:
        """Do everything on the page and give the output."""
        return "".join(self._do(block) for block in blocks(page))

    def _do(self, block: Block) -> str:
        text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda port: self._ports[port[0]], block.text)
        text = text.replace("/run/metrics", str(self._metrics))
        match block.language, block.manner:
            case "bash", "":
                return self._run(text)
            case "bash", "server":
                if "server" in self._servers:
                    self._end(self._servers.pop("server"))
                self._start("server", text)
                self._await("server", lambda: self._open("9091", "9092") and self._open("8000"))
            case "bash", "prometheus":
                self._start("prometheus", text)
                self._await("prometheus", lambda: self._open("9095"))
            case "bash", "background":
                self._start("background", text)
            case "bash", "clone":
                self._run(f"{sys.executable} -m venv {self._venv}")
                bin_folder = self._venv / "bin"
                self._environment["PATH"] = f"{bin_folder}:{self._environment['PATH']}"
                self._run(text, self._repository)
            case ("python" | "yaml" | "toml") as language, "":
                named = re.match(r"# ([\w.]+\.(?:py|yml|toml))\n", text)
                if named is not None:
                    (self._folder / named[1]).write_text(text)
                elif language == "python":
                    return self._run(f"python - <<'END'\n{text}\nEND\n")
            case "bash" | "python", manner:
                pytest.fail(f"what is a block that is to be run as {manner!r}?")
        return ""

    def _run(self, script: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder or self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        log = self._log.read_text() if self._log.exists() else ""
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}{log}"
        return done.stdout

    def _start(self, name: str, script: str) -> None:
        with self._log.open("ab") as log:
            self._servers[name] = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f"exec {script}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        self._wait_for(ready, self._log.read_text, 30)
        assert self._servers[name].poll() is None, self._log.read_text()

    def _open(self, *ports: str) -> bool:
        return any(self._is_open(int(self._ports[port])) for port in ports)

    def ask(self, query: str) -> dict[str, float]:
        """What the page's Prometheus answers now: values by labels, as promtool writes them."""
        url = f"http://127.0.0.1:{self._ports['9095']}"
        answer = self._run(f"promtool query instant {url} {shlex.quote(query)}")
        rows = re.findall(r"^(.*) => (\S+) @\[", answer, re.MULTILINE)
        return {labels: float(value) for labels, value in rows}

    def workers(self) -> list[psutil.Process]:
        """Gunicorn's children but for the exporter process."""
        children = psutil.Process(self._servers["server"].pid).children()
        return [child for child in children if "gunicorn_prometheus_server" not in child.cmdline()]

    def _end(self, server: subprocess.Popen[bytes]) -> None:
        server.terminate()
        try:
            server.wait(15)
        finally:
            server.kill()
            server.wait()

    def end(self) -> None:
        for server in self._servers.values():
            self._end(server)
        for process in psutil.process_iter():  # a server can have started another in its place
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.cwd() == str(self._folder):
                    process.kill()


@pytest.fixture
def reader(
    tmp_path: Path, repository: Path, wait_for: Any, is_open: Callable[[int], bool]
) -> Iterator[Reader]:
    someone = Reader(tmp_path, repository, wait_for, is_open)
    yield someone
    someone.end()


@pytest.mark.timeout(180)  # installing takes its time
@pytest.mark.parametrize("page", [page for page in PAGES if page != TUTORIAL])
def test_the_examples_run(page: str, pages: dict[str, str], reader: Reader) -> None:
    output = reader.read(pages[page])
    for expected in PAGES[page]:
        assert expected in output


@pytest.mark.timeout(240)
def test_the_tutorial_ends_with_a_plot(
    pages: dict[str, str], reader: Reader, wait_for: Any
) -> None:
    page = pages[TUTORIAL]
    output = reader.read(page)
    for expected in PAGES[TUTORIAL]:
        assert expected in output
    rates, quantiles, utilisation, exits = (
        " ".join(block.text.split()) for block in blocks(page) if block.language == "promql"
    )
    link = re.search(r"/graph\?g0\.expr=(.+?)&", page)
    assert link is not None
    assert urllib.parse.unquote(link[1]) == rates

    endpoints = {f'{{endpoint="{path}"}}' for path in ("/", "/fast", "/slow", "_unmatched_")}

    def plotted() -> bool:
        found = reader.ask(rates)
        return found.keys() == endpoints and min(found.values()) > 0

    wait_for(plotted, lambda: reader.ask(rates), 50)
    assert reader.ask(quantiles).keys() == endpoints
    assert reader.ask(quantiles)['{endpoint="/slow"}'] > reader.ask(quantiles)['{endpoint="/fast"}']
    ((_, busy),) = reader.ask(utilisation).items()
    assert 0 < busy < 1

    count = "sum(gunicorn_worker_requests_total)"
    ((_, before),) = reader.ask(count).items()
    reader.workers()[0].kill()
    killed = wait_for(lambda: reader.ask(exits), lambda: reader.ask(exits), 20)
    assert [value for labels, value in killed.items() if 'cause="killed"' in labels] == [1]

    def further() -> bool:
        ((_, now),) = reader.ask(count).items()
        assert now >= before
        return now > before

    wait_for(further, lambda: reader.ask(count), 20)
