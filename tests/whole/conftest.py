"""Real Gunicorn servers, clients that count, and scrapers that watch."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import http.client
import itertools
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sysconfig
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gunicorn
import psutil
import pytest
import trustme

#: As a user starts it; USR2 starts the same again.
GUNICORN = str(Path(sysconfig.get_path("scripts"), "gunicorn"))
APP = Path(__file__).with_name("application.py")
VERSION = tuple(int(part) for part in gunicorn.__version__.split(".")[:2])


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of worker, as a user starts it."""

    name: str
    worker: str
    options: tuple[str, ...] = ()
    app: str = "application:app"
    since: tuple[int, ...] = (21,)
    #: Whether connections are kept open for further requests.
    keep_alive: bool = True
    #: Whether its workers, as they end, close new connections that they have not read from.
    drops_connections: bool = False
    #: Whether they end at once, whatever they are doing, as soon as they don't accept any more.
    cuts_off: bool = False
    #: Whether requests end a worker, after so many of them.
    recycles: bool = True
    #: Whether its workers, as they end, wait for connections that are closed already.
    stalls: bool = False

    @property
    def asgi(self) -> bool:
        return self.app == ASGI

    @property
    def hooks(self) -> bool:
        """Whether its requests run through Gunicorn's own code for WSGI."""
        return self.name in ("sync", "gthread", "gevent", "eventlet")

    def arguments(self) -> list[str]:
        return ["-k", f"gunicorn_prometheus_exporter.{self.worker}", *self.options]


ASGI, TORNADO = "asgi_application:app", "tornado_application:app"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("sync", "PrometheusWorker", keep_alive=False),
        Kind(
            "gthread",
            "PrometheusThreadWorker",
            ("--threads", "4"),
            drops_connections=VERSION < (24,),
        ),
        Kind("gevent", "PrometheusGeventWorker"),
        Kind("gevent_pywsgi", "PrometheusGeventPyWSGIWorker", recycles=False),
        Kind("eventlet", "PrometheusEventletWorker", drops_connections=VERSION < (26,)),
        Kind("tornado", "PrometheusTornadoWorker", cuts_off=True),
        Kind("tornado_native", "PrometheusTornadoWorker", app=TORNADO, cuts_off=True),
        Kind(
            "asgi",
            "PrometheusASGIWorker",
            app=ASGI,
            since=(24,),
            drops_connections=VERSION < (25,),
            recycles=VERSION[0] != 25,
            stalls=VERSION[0] == 25,
        ),
        Kind("uvicorn", "PrometheusUvicornWorker", app=ASGI, drops_connections=True),
    )
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kinds", default=",".join(KINDS), help="kinds of workers, by commas")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of kinds that this Gunicorn hasn't, instead of skipping them."""
    none = [item for item in items if "[NOTSET]" in item.name]
    if none:
        config.hook.pytest_deselected(items=none)
        items[:] = [item for item in items if item not in none]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with the argument `kind` for every kind of worker that this Gunicorn has."""
    if "kind" in metafunc.fixturenames:
        names = metafunc.config.getoption("--kinds").split(",")
        kinds = [KINDS[name] for name in names if KINDS[name].since <= VERSION]
        if selected := metafunc.definition.get_closest_marker("kinds"):
            kinds = [kind for kind in kinds if selected.args[0](kind)]
        # Tests with a server in common belong into one process.
        shared = "serving" in metafunc.fixturenames
        marks = {kind: [pytest.mark.xdist_group(kind.name)] if shared else [] for kind in kinds}
        params = [pytest.param(kind, id=kind.name, marks=marks[kind]) for kind in kinds]
        metafunc.parametrize("kind", params, scope="module" if shared else None)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def wait_for(
    condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 20.0
) -> Any:
    """What the condition gives, as soon as that is true; an AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)


#: In an order of this process's own, none of those that the system gives to outgoing connections.
_PORTS = itertools.cycle(random.sample(range(10_000, 32_000), 22_000))


def _free_port() -> int:
    while True:
        port = next(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def parse(text: str) -> Samples:
    """The samples as they are written: prometheus_client's parser renames some counters."""
    samples: Samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            sample = line.partition(" # {")[0]  # without its exemplar
            name, labels, value = re.fullmatch(r"(\w+)(?:{(.*)})? (\S+)", sample).groups()
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            samples[name, tuple(sorted(pairs))] = float(value)
    return samples


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = parse(text)

    def values(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        wanted = set(labels.items())
        return {
            pairs: value
            for (sample, pairs), value in self.samples.items()
            if sample == name and wanted <= set(pairs)
        }

    def sum(self, name: str, **labels: str) -> float:
        return sum(self.values(name, **labels).values())

    def counters(self) -> Samples:
        """Everything that must never go down."""
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.MULTILINE))
        return {
            key: value
            for key, value in self.samples.items()
            if kinds.get(key[0]) == "counter"
            or kinds.get(re.sub("_(bucket|count|sum)$", "", key[0])) in ("histogram", "summary")
        }


class Server:
    """A Gunicorn with metrics.

    ``prefix`` is a command that runs another one, elsewhere perhaps; ``host`` the address there.
    """

    host = "127.0.0.1"
    prefix: tuple[str, ...] = ()

    def __init__(
        self, directory: Path, *options: str, app: str = "application:app", **environment: str
    ) -> None:
        self.port, self.metrics_port = _free_port(), _free_port()
        self.log_path = directory / "gunicorn.log"
        self.directory = directory
        self.options = list(options)
        self.app = app
        #: Where it is started.
        self.working_directory = APP.parent
        self.environment = {
            "PROMETHEUS_METRICS_PORT": str(self.metrics_port),
            "PROMETHEUS_BIND_ADDRESS": self.host,
            **environment,
        }
        #: For connections to the application by TLS.
        self.context: ssl.SSLContext | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._started: list[psutil.Process] = []

    def start(self, *, ready: bool = True) -> Server:
        options = ["--bind", f"{self.host}:{self.port}", "--log-level", "info"]
        if VERSION >= (25, 1):
            options.append("--no-control-socket")
        if not any(option.startswith(("-k", "--worker-class")) for option in self.options):
            options += ["-k", "gunicorn_prometheus_exporter.PrometheusWorker"]
        environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("PROMETHEUS_", "REDIS_"))
        }
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, GUNICORN, *options, *self.options, self.app],
                cwd=self.working_directory,
                env=environment | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(psutil.Process(self.process.pid))
        if ready:
            wait_for(self.answers, lambda: f"the application answers\n{self.end_of_log}")
            wait_for(self.is_scrapable, lambda: f"the metrics are served\n{self.end_of_log}")
        return self

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def end_of_log(self) -> str:
        return "\n".join(self.log.splitlines()[-40:])

    @property
    def pid(self) -> int:
        """Of the master."""
        assert self.process is not None
        if "unshare" in self.prefix:
            return psutil.Process(self.process.pid).children()[0].pid
        return self.process.pid

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/ping") == (200, b"pong")
        return False

    def is_scrapable(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.scrape().samples)
        return False

    def get(self, path: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        if self.context is not None:
            connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=30, context=self.context
            )
        try:
            connection.request("POST" if body is not None else "GET", path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def scrape(self, query: str = "", accept: str = "text/plain") -> Scrape:
        url = f"http://{self.host}:{self.metrics_port}/metrics{query}"
        request = urllib.request.Request(url, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as response:
            return Scrape(response.read().decode())

    def pids(self, pattern: str, root: int | None = None) -> list[int]:
        """Pids of the children of the master whose command line matches."""
        found: list[int] = []
        try:
            children = psutil.Process(root or self.pid).children()
        except psutil.NoSuchProcess:
            return found
        for child in children:
            with contextlib.suppress(psutil.Error):
                if re.search(pattern, " ".join(child.cmdline())):
                    found.append(child.pid)
        return found

    def exporter(self, root: int | None = None) -> int:
        (pid,) = wait_for(
            lambda: self.pids("gunicorn_prometheus_server", root), "there is an exporter process"
        )
        return pid

    def workers(self, root: int | None = None) -> list[int]:
        exporter = self.pids("gunicorn_prometheus_server", root)
        return [pid for pid in self.pids(r"gunicorn", root) if pid not in exporter]

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_counted(self, name: str, total: float, **labels: str) -> Scrape:
        """A scrape in which the samples of that name add up to the total."""
        last: list[Scrape] = []

        def reached() -> bool:
            last[:] = [self.scrape()]
            return last[0].sum(name, **labels) == total

        def state() -> str:
            value = last[0].sum(name, **labels)
            return f"{name}{labels} is {total}; it is {value}\n{self.end_of_log}"

        wait_for(reached, state)
        return last[0]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it as an operator would, and wait until everything has ended."""
        if self.process is None:
            return
        family = self.family()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        self.process.wait(50)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, f"left running: {alive}\n{self.end_of_log}"

    def family(self) -> list[psutil.Process]:
        found = []
        for root in self._started:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [root, *root.children(recursive=True)]
        return found

    def kill(self) -> None:
        """End whatever is left, by pid."""
        # New masters of an upgrade are children of the first one until that ends.
        family = {process.pid: process for process in self.family()}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if f"{self.host}:{self.port}" in process.cmdline():
                    family.update({p.pid: p for p in [process, *process.children(recursive=True)]})
        for process in family.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.process is not None:
            self.process.wait(10)
        psutil.wait_procs(list(family.values()), timeout=10)


@contextlib.contextmanager
def _servers(directory: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(*options: str, app: str = "application:app", **environment: str) -> Server:
        home = directory / f"server{len(made)}"
        home.mkdir()
        made.append(Server(home, *options, app=app, **environment))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.kill()


@pytest.fixture(scope="session")
def kinds() -> dict[str, Kind]:
    """All kinds of workers, by name."""
    return KINDS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, not started yet; they are ended with the test."""
    with _servers(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Makes servers for all tests of a module."""
    with _servers(tmp_path_factory.mktemp("servers")) as make:
        yield make


class Client:
    """Sends requests from several threads and counts the answers, by path and status."""

    def __init__(
        self,
        server: Server,
        threads: int = 4,
        *,
        kind: Kind = KINDS["sync"],
    ) -> None:
        self._server = server
        self.kind = kind
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self._change = threading.Condition()
        self._state = "running"
        self._busy = threads
        self.answers: Counter[tuple[str, int]] = Counter()
        self.sent = 0
        self.most_sent = max(len(body or b"") for _, body in REQUESTS)
        self.received = 0
        self.errors: list[BaseException] = []

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enter("ended")
        for thread in self._threads:
            thread.join(60)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    def pause(self) -> None:
        """Finish the requests under way and send no more."""
        self._enter("paused")
        wait_for(lambda: self._busy == 0, "the requests under way are answered", 60)

    def resume(self) -> None:
        self._enter("running")

    def more(self, number: int) -> None:
        """Wait until that many further requests have been answered."""
        target = self.total + number
        wait_for(lambda: self.errors or self.total >= target, f"{number} more answers", 300)
        assert not self.errors, self.errors[:3]

    def _enter(self, state: str) -> None:
        with self._change:
            self._state = state
            self._change.notify_all()

    def _may_go_on(self) -> bool:
        with self._change:
            if self._state == "paused":
                self._busy -= 1
                self._change.wait_for(lambda: self._state != "paused")
                self._busy += 1
            return self._state == "running"

    def _run(self) -> None:
        connection = self._connect()
        reused = False
        try:
            for path, body in itertools.cycle(REQUESTS):
                if not self._may_go_on():
                    return
                while True:
                    try:
                        status, received = self._exchange(connection, path, body)
                        break
                    except (http.client.RemoteDisconnected, ConnectionError):
                        # An idle connection was closed: as every client does, try a new one.
                        if not (reused or self.kind.drops_connections):
                            raise
                        connection.close()
                        reused = False
                reused = connection.sock is not None
                with self._change:
                    self.answers[path, status] += 1
                    self.sent += len(body or b"")
                    # Pages that Gunicorn itself writes about an error are not the application's.
                    self.received += received if status != 500 else 0
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            connection.close()
            with self._change:
                self._busy -= 1

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._server.host, self._server.port, timeout=60)

    def _exchange(
        self, connection: http.client.HTTPConnection, path: str, body: bytes | None
    ) -> tuple[int, int]:
        headers = {} if self.kind.keep_alive else {"Connection": "close"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, len(response.read())


REQUESTS: list[tuple[str, bytes | None]] = [
    ("/", None),
    ("/upload", b"x" * 5000),
    ("/", None),
    ("/download", None),
    ("/fail", None),
    ("/nowhere", None),
]


class Watch:
    """Scrapes every 100 ms and sees to it that no scrape fails and no counter goes down."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.scrapes = 0
        #: Scrapes that were under way when something cut them off. None may be refused.
        self.cut = 0
        self.failures: list[str] = []
        #: What the first scrape that was wrong said of the workers and of the exporter.
        self._seen = ""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        if kind is None:
            assert not self.failures, (
                f"{self.failures[:5]}\n{self._seen}\n{self._server.end_of_log}"
            )
            assert self.scrapes

    def _run(self) -> None:
        before: Samples = {}
        while not self._ended.wait(0.1):
            try:
                scrape = self._server.scrape()
                now = scrape.counters()
            except (ConnectionResetError, http.client.HTTPException):
                self.cut += 1
                continue
            except OSError as error:
                self.failures.append(f"scrape {self.scrapes} failed: {error!r}")
                continue
            self.scrapes += 1
            for key, value in before.items():
                if key in now and now[key] < value:
                    self.failures.append(f"scrape {self.scrapes}: {key} fell {value} -> {now[key]}")
                elif key not in now:
                    self.failures.append(f"scrape {self.scrapes}: {key} vanished")
            if self.failures and not self._seen:
                wanted = r"^gunicorn_(?:workers|worker_(?:state|uptime)|exporter).*$"
                self._seen = "\n".join(re.findall(wanted, scrape.text, re.MULTILINE))
            before = now


@pytest.fixture
def open_to_everybody() -> Iterator[Callable[[list[str]], None]]:
    """Lets others pass through the folders above these paths, during the test.

    Tests beside each other share most of those folders, so only one at a time has them open: the
    next one would take an opened folder for one that is left so.
    """
    changed: list[tuple[Path, int]] = []
    root = os.open("/", os.O_RDONLY)
    fcntl.flock(root, fcntl.LOCK_EX)

    def make_passable(paths: list[str]) -> None:
        for path in paths:
            for folder in Path(path).resolve().parents:
                mode = folder.stat().st_mode & 0o7777
                if not mode & 0o001:
                    changed.append((folder, mode))
                    folder.chmod(mode | 0o001)

    yield make_passable
    for folder, mode in changed:
        folder.chmod(mode)
    os.close(root)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Files of a certificate for localhost and of its key."""

    certfile: str
    keyfile: str
    authority: trustme.CA

    def context(self) -> ssl.SSLContext:
        """For a client that trusts it."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("certificate")
    made = Certificate(str(directory / "cert.pem"), str(directory / "key.pem"), trustme.CA())
    issued = made.authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(made.certfile)
    issued.private_key_pem.write_to_path(made.keyfile)
    return made


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return _free_port


@pytest.fixture(scope="session")
def wait() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="session")
def load() -> Callable[..., Client]:
    return Client


@pytest.fixture(scope="session")
def watch() -> Callable[..., Watch]:
    return Watch


@pytest.fixture(scope="session")
def server_class() -> type[Server]:
    return Server
