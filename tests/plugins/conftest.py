"""Clean environments that wheels are installed into, made from what is in this repository."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = ("storage-sqlite", "collector-limits", "routes-teapot")
THEIRS = ("PROMETHEUS_", "GUNICORN_", "REDIS_", "SIDECAR_", "CLEANUP_", "PYTHONPATH")


class Environment:
    """A virtual environment."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)

    def install(self, *what, wheels=None):
        """Install these, of which ours are among the wheels."""
        options = ["--quiet", "--disable-pip-version-check"]
        self.run("pip", "install", *options, *(["--find-links", wheels] if wheels else []), *what)

    def environ(self, **variables):
        own = {name: value for name, value in os.environ.items() if not name.startswith(THEIRS)}
        return {**own, **variables}

    def run(self, program, *arguments, cwd=None, **variables):
        """What a program of the environment prints."""
        done = subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            cwd=cwd or self.folder,
            env=self.environ(**variables),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory):
    """Makes environments."""
    return lambda: Environment(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with wheels of all our distributions, and of the examples."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [REPOSITORY, *REPOSITORY.glob("packages/*")]
    sources += (REPOSITORY / "examples" / name for name in EXAMPLES)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    # With the build backend that is installed here: one environment for each takes a minute.
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*command, *options, *sources], check=True, timeout=280)
    return folder


@pytest.fixture(scope="session")
def installed(make_environment, wheels):
    """One that has the product and the examples. Tests that use it are one group."""
    environment = make_environment()
    examples = (path for path in wheels.iterdir() if "gunicorn_prometheus" not in path.name)
    environment.install("gunicorn-prometheus-exporter", *examples, wheels=wheels)
    return environment


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def free_port():
    """None of those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="session")
def until():
    """Polls until a condition holds and gives what it gave; fails with what was seen last."""

    def wait(condition, what, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not (seen := condition()):
            assert time.monotonic() < deadline, what()
            time.sleep(0.05)
        return seen

    return wait


def get(port, path=""):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
        return answer.read().decode()


class Gunicorn:
    """Gunicorn with four workers in an environment, started in the folder of its application."""

    def __init__(self, environment, folder, worker, **variables):
        self.port = free_port()
        self.log = folder / "log"
        options = ["-w", "4", "-k", worker, "-b", f"127.0.0.1:{self.port}", "--no-control-socket"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [environment.folder / "bin/gunicorn", *options, "app:app"],
                cwd=folder,
                env=environment.environ(**variables),
                stdout=log,
                stderr=log,
            )

    def get(self, path=""):
        return get(self.port, path)

    def is_open(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()


class Server(Gunicorn):
    """One with the exporter."""

    def __init__(self, environment, folder, until, app=APP, **variables):
        self.metrics_port = free_port()
        folder.mkdir()
        (folder / "app.py").write_text(app)
        own = {
            "PROMETHEUS_METRICS_PORT": str(self.metrics_port),
            "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
            "GUNICORN_PROMETHEUS_PUBLISH_SECONDS": "0.1",
        }
        worker = "gunicorn_prometheus_exporter.PrometheusWorker"
        super().__init__(environment, folder, worker, **own, **variables)
        until(self.is_up, self.log.read_text)

    def is_up(self):
        with contextlib.suppress(OSError):
            return self.is_open() and self.samples()
        return None

    def ask(self, number):
        for _ in range(number):
            assert self.get() == "ok"

    def samples(self):
        lines = get(self.metrics_port, "metrics").splitlines()
        return {
            name: float(value)
            for name, _, value in (one.rpartition(" ") for one in lines if one[:1] != "#")
        }

    def requests(self):
        """How many requests the metrics are about."""
        samples = self.samples().items()
        return sum(v for name, v in samples if name.startswith("gunicorn_worker_requests_total{"))


@pytest.fixture
def serve(installed, tmp_path, until):
    """Starts servers; they end with the test."""
    started = []

    def start(name="server", **variables):
        started.append(Server(installed, tmp_path / name, until, **variables))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def run_gunicorn(until):
    """Starts servers without the exporter; they end with the test."""
    started = []

    def start(*arguments, **variables):
        started.append(Gunicorn(*arguments, **variables))
        until(started[-1].is_open, started[-1].log.read_text)
        return started[-1]

    yield start
    for server in started:
        server.stop()
