"""Real containers: images built with buildah, run by podman, composed by docker-compose.

Everything of theirs is in a folder of its own, and `nox -s containers` runs the tests in a network
namespace of their own, so that ports and names are those of the files under test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DOCKER = ROOT / "deploy" / "docker"
EXPORTER = "docker.io/princekrroshan01/gunicorn-prometheus-exporter:0.3.0"
APP = "docker.io/princekrroshan01/gunicorn-app:0.3.0"
REDIS = "docker.io/library/redis:7-alpine"
PROMETHEUS = "docker.io/prom/prometheus:v3.5.0"
BASE = "localhost/python"

#: What works for root without a systemd, and without the right to raise limits.
ENGINE = """
[containers]
cgroupns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stand-ins", type=Path, help="folder that stand_ins.py has filled")


class Engine:
    """podman, and what else works on its images, networks and volumes."""

    def __init__(self, folder: Path) -> None:
        #: Where all of it runs: conmon leaves a file in its working directory.
        self.folder = folder
        for name, text in (("containers", ENGINE), ("storage", STORAGE)):
            (folder / f"{name}.conf").write_text(text.format(folder=folder))
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "DOCKER_HOST": f"unix://{folder}/podman.sock",
            "COMPOSE_PROJECT_NAME": "shop",
        }

    def run(self, *command: object, check: bool = True) -> str:
        """What a command prints; podman's complaints about a missing systemd are not in it."""
        done = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip() if check else done.stdout + done.stderr

    def podman(self, *arguments: object, check: bool = True) -> str:
        return self.run("podman", *arguments, check=check)

    def inspect(self, image: str) -> dict[str, Any]:
        return dict(json.loads(self.podman("image", "inspect", image))[0])

    def build(self, dockerfile: Path, tag: str, *options: object) -> None:
        command = ["buildah", "build", "--isolation", "chroot", "--format", "docker"]
        self.run(*command, *options, "--file", dockerfile, "--tag", tag, ROOT)

    def sweep(self) -> None:
        """Remove all that tests have made, but the images."""
        self.podman("pod", "rm", "--all", "--force", "--time", "2", check=False)
        self.podman("rm", "--all", "--force", "--time", "2", check=False)
        self.podman("volume", "prune", "--force", check=False)
        self.podman("network", "prune", "--force", check=False)


@pytest.fixture(scope="session")
def stand_ins(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.getoption("--stand-ins")
    assert folder, "run it as `nox -s containers`"
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def bare_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    engine = Engine(folder)
    yield engine
    engine.sweep()
    engine.podman("system", "reset", "--force", check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def build_options(stand_ins: Path) -> list[str]:
    """To build our images from the stand-ins, without a network, and with no time in them."""
    arguments = {"PYTHON_IMAGE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
    options = ["--timestamp", "0", "--volume", f"{stand_ins}/wheels:/wheels:ro"]
    return options + [f"--build-arg={name}={value}" for name, value in arguments.items()]


@pytest.fixture(scope="session")
def built(bare_engine: Engine, stand_ins: Path, build_options: list[str]) -> Engine:
    engine = bare_engine
    for tar, name in (("python", BASE), ("services", "localhost/services")):
        engine.podman("import", stand_ins / f"{tar}.tar", name)
    engine.build(DOCKER / "Dockerfile", EXPORTER, *build_options)
    engine.build(DOCKER / "app" / "Dockerfile", APP, *build_options)
    engine.build(HERE / "Redis.Dockerfile", REDIS)
    engine.build(HERE / "Prometheus.Dockerfile", PROMETHEUS)
    return engine


@pytest.fixture
def engine(built: Engine) -> Iterator[Engine]:
    yield built
    built.sweep()


@pytest.fixture
def compose(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs docker-compose on some of our files, against podman."""
    address = engine.environment["DOCKER_HOST"]
    with (tmp_path / "service.log").open("w") as log:
        service = subprocess.Popen(
            ["podman", "system", "service", "--time", "0", address],
            env=engine.environment,
            cwd=engine.folder,
            stdout=log,
            stderr=log,
        )
    wait(lambda: Path(address.removeprefix("unix://")).exists(), "podman's service listens")

    def run(files: list[str], *arguments: str) -> str:
        named = [f"--file={DOCKER / f'compose.{name}.yml'}" for name in files]
        return engine.run("docker-compose", *named, *arguments)

    yield run
    service.terminate()
    service.wait(20)
    Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def wait(condition: Callable[[], object], what: object, seconds: float = 40) -> None:
    """Wait until a condition is true. ``what`` says what for; or gives what was last seen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else f"never: {what}"
        time.sleep(0.05)


def fetch(url: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of an answer; status 0 when there was none."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""


class Server:
    """The sample application, and how many answers it has given us."""

    def __init__(self, address: str = "127.0.0.1:8000") -> None:
        self._url = f"http://{address}"
        self.answered = 0
        wait(lambda: self.send("/health")[0] == 200, f"{address} answers")

    def send(self, path: str, method: str = "GET") -> tuple[int, str]:
        answer = fetch(self._url + path, method)
        self.answered += answer[0] != 0
        return answer

    def order(self, item: str, times: int) -> None:
        for _ in range(times):
            assert self.send(f"/orders/{item}", "POST") == (201, f"{item}\n")


def scrape(address: str = "127.0.0.1:9091") -> Samples:
    status, text = fetch(f"http://{address}/metrics")
    if status != 200:
        return {}
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(name: str, samples: Samples, **labels: str) -> float | None:
    """The sum over all series with these labels; None if there is none."""
    values = [
        value
        for (own_name, own_labels), value in samples.items()
        if own_name == name and own_labels >= labels.items()
    ]
    return sum(values) if values else None


def wait_total(expected: float, name: str, address: str = "127.0.0.1:9091", **labels: str) -> None:
    """Wait until the sum over all series with these labels is ``expected``, exactly."""
    seen: list[float | None] = []

    def reached() -> bool:
        seen.append(total(name, scrape(address), **labels))
        return seen[-1] == expected

    wait(reached, lambda: f"{name} {labels} was {seen[-1]}, not {expected}")


def is_restricted(engine: Engine, container: str) -> None:
    """Assert that it has no rights but those of a user, and that its image can't be changed."""
    text = engine.podman("exec", container, "cat", "/proc/self/status")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["1000"] * 4
    assert {int(status[f"Cap{which}"], 16) for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    refused = engine.podman("exec", container, "touch", "/opt/file", check=False)
    assert "Read-only file system" in refused


@contextlib.contextmanager
def logs_on_failure(engine: Engine, *containers: str) -> Iterator[None]:
    """Add what these containers have logged to whatever fails."""
    try:
        yield
    except AssertionError as error:
        said = [f"{name}:\n{engine.podman('logs', name, check=False)}" for name in containers]
        raise AssertionError("\n".join([str(error), *said])) from error
