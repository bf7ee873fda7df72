"""The exporter process without a master: beside a server, in a container of its own, or alone."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from prometheus_client import Metric

from gunicorn_prometheus_core import catalogue, listening, plugins
from gunicorn_prometheus_core.collecting import Collector
from gunicorn_prometheus_core.errors import SettingsError, StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Pages
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import Process, Snapshot, Storage

from . import access
from .publishing import Shared
from .room import Room
from .running import Collectors, log_like_gunicorn, run

#: Descriptor of the first socket that systemd has opened for a service.
_FIRST_ACTIVATED = 3
_BIND_RETRY_SECONDS = 1.0

Listen = Callable[[Sequence[listening.Address]], list[socket.socket]]


def sidecar(settings: Settings) -> None:
    """Serve what a server beside this process records into a directory, or publishes to Redis.

    The directory may be one that can only be read, that is not there yet, and
    whose processes can't be seen from here. Returns when asked to end. Raises
    SettingsError, MissingPart, StorageUnavailable and OSError for what it
    can't begin with.
    """
    log_like_gunicorn()
    begun = time.monotonic()
    directory = settings.multiproc_dir
    if directory is None and settings.storage == "mmap":
        raise SettingsError(
            "PROMETHEUS_MULTIPROC_DIR is not set: nothing to serve; set it to the directory that "
            "the server records into"
        )
    if directory is not None and not os.path.isdir(directory):
        log.warning("%s: is not there yet", settings.said("multiproc_dir"))

    def collectors(shared: Shared | None) -> Mapping[str, Collector]:
        about = About(directory, settings.sidecar_update_interval, shared, begun)
        # The room that matters is where the server records, not where our own counts are.
        return {"sidecar": about} | ({} if directory is None else {"room": Room(directory)})

    with contextlib.ExitStack() as stack:
        _serve(settings, stack, collectors, listen=_listen_when_possible)


def standalone(settings: Settings) -> None:
    """Serve a directory of its own, or the configured one, which is made if it is not there.

    As :func:`sidecar`.
    """
    log_like_gunicorn()
    if settings.multiproc_dir is not None:
        os.makedirs(settings.multiproc_dir, mode=0o750, exist_ok=True)
    with contextlib.ExitStack() as stack:
        _serve(settings, stack, lambda shared: {}, listen=listening.listen)


def _serve(
    settings: Settings, stack: contextlib.ExitStack, collectors: Collectors, listen: Listen
) -> None:
    pages: Pages = plugins.load(plugins.STORAGE, "mmap")()
    directory = settings.multiproc_dir
    reads: Storage | None = None
    if directory is None or not os.access(directory, os.W_OK):
        # Then our own counts are in a directory of our own. What a server records into one that
        # is not ours to write to, it publishes itself, where it publishes.
        if directory is not None and settings.storage == "mmap":
            reads = stack.enter_context(contextlib.closing(pages.open(settings, directory)))
        directory = _private(settings, pages, stack)
    storage: Storage = stack.enter_context(contextlib.closing(pages.open(settings, directory)))
    recorder = pages.activate(directory)
    stack.callback(recorder.close)
    recorder.bind("exporter")
    run(
        settings,
        directory,
        storage if reads is None else Beside(reads, storage),
        recorder,
        lambda stack: open_sockets(settings, stack, listen),
        collectors=collectors,
    )


def _private(settings: Settings, pages: Pages, stack: contextlib.ExitStack) -> str:
    try:
        own = pages.prepare(
            replace(settings, multiproc_dir=None), uid=os.geteuid(), gid=os.getegid()
        )
    except OSError as error:
        raise StorageUnavailable(
            f"there is no place for the exporter's own counts: {error}; /dev/shm or /tmp has to be "
            "writable"
        ) from error
    stack.callback(own.discard)
    return own.path


def open_sockets(
    settings: Settings, stack: contextlib.ExitStack, listen: Listen = listening.listen
) -> Sequence[socket.socket]:
    """The sockets to listen at: those that systemd gives, else the configured addresses."""
    sockets = activated(os.environ)
    if sockets:
        for sock in sockets:
            stack.enter_context(sock)
    else:
        addresses = listening.addresses(settings.bind_address, settings.metrics_port)
        sockets = listen(addresses)
        stack.callback(listening.forget, sockets)
    scheme = access.check(settings)
    for sock in sockets:
        log.info("Metrics at: %s", listening.url(sock, scheme))
    return sockets


def _listen_when_possible(addresses: Sequence[listening.Address]) -> list[socket.socket]:
    """The sockets, as soon as nobody else holds an address.

    In a pod that is the server beside us, until somebody sets its SIDECAR_MODE; to end and be
    started again and again would not be better.
    """
    complained = False
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        while True:
            try:
                return listening.listen(addresses)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if not complained:
                    complained = True
                    log.error("can't serve metrics at %s; trying again until it works", error)
            time.sleep(_BIND_RETRY_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, before)


def activated(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd has opened for this process (sd_listen_fds(3)).

    Raises OSError for one that does not listen.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    sockets = []
    for number in range(int(environ.get("LISTEN_FDS", "0"))):
        sock = socket.socket(fileno=_FIRST_ACTIVATED + number)
        sock.set_inheritable(False)
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(f"descriptor {sock.fileno()} of LISTEN_FDS is no listening socket")
        sockets.append(sock)
    return sockets


class Beside:
    """The pages of two directories: those of a server that we can't write to, and our own."""

    instance = ""

    def __init__(self, theirs: Storage, own: Storage) -> None:
        self._both = theirs, own

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Nothing to do: the pages are visible as they are."""

    def collect(self) -> Sequence[Snapshot]:
        """A snapshot of each page."""
        return [snapshot for storage in self._both for snapshot in storage.collect()]

    def processes(self) -> Sequence[Process]:
        """The processes of both."""
        return [process for storage in self._both for process in storage.processes()]

    def retire(self, instance: str) -> None:
        """Nothing to do: there is one instance."""

    def close(self) -> None:
        """Let go of all files."""
        for storage in self._both:
            storage.close()


class About:
    """The families about the sidecar itself; a collector."""

    def __init__(
        self, directory: str | None, interval: float, shared: Shared | None, begun: float
    ) -> None:
        self._directory = directory
        self._interval = interval
        self._shared = shared
        self._begun = begun
        self._measured = (0, 0)
        self._next = begun

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """Uptime, and what there is to be said of Redis and of the directory."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            self._measured = _measure(self._directory)
        size, files = self._measured
        yield _gauge(catalogue.SIDECAR_UPTIME, now - self._begun)
        yield _gauge(catalogue.SIDECAR_DIR_SIZE, size)
        yield _gauge(catalogue.SIDECAR_FILES, files)
        if self._shared is not None:
            yield _gauge(catalogue.SIDECAR_REDIS_CONNECTED, float(self._shared.is_up))


def _gauge(family: catalogue.Family, value: float) -> Metric:
    metric = Metric(family.name, family.help, family.type)
    metric.add_sample(family.name, {}, value)
    return metric


def _measure(directory: str | None) -> tuple[int, int]:
    """Bytes and number of the files in a directory; zeros if there is none."""
    sizes = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory or ""):
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    sizes.append(entry.stat().st_size)
    return sum(sizes), len(sizes)
