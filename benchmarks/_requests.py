"""CPU time of requests to servers that run side by side."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from _gunicorn import Server, get, gunicorn, wait_until
from _measure import Spread, cpu_seconds, memory_folder, spread

T = TypeVar("T")

#: Requests that a server is sent in a round, and how many of them at a time.
REQUESTS = 1_500
TURN = 50
WARM_UP = 300

#: Not measured, and a thread of its own; older versions of Gunicorn don't know it and don't mind.
NO_CONTROL_SOCKET = "control_socket_disable = True\n"


class Result(NamedTuple):
    """CPU time in us: of a request in the worker, of a second in the master."""

    turns: list[float]  # median of each turn
    mean: float  # of all requests
    master: float


@dataclass(frozen=True)
class Side:
    title: str
    python: str
    config: str = NO_CONTROL_SOCKET
    app: str = "_hello:app"
    environ: tuple[tuple[str, str], ...] = ()
    header: str = ""  # further line of each request
    plain: str = ""  # title of the side without metrics to compare with
    #: Gives /metrics of a side that records, from its server and its folder of pages.
    metrics: Callable[[Server, Path], bytes] | None = None


class Measured:
    """A server and the CPU time that its requests and its master have needed in a round."""

    def __init__(self, server: Server, header: str) -> None:
        self.server, self._header = server, header
        server.ready()
        (self._worker,) = server.workers()
        for _ in range(WARM_UP):
            self._get()
        self._turns: list[float] = []
        self._sum = 0.0
        self._began, self._master = time.monotonic(), cpu_seconds(server.pid)

    def _get(self) -> None:
        get(self.server.port, header=self._header)

    def take_a_turn(self) -> None:
        self._get()  # The first after others' turns finds the caches cold.
        clock = [cpu_seconds(self._worker)]
        for _ in range(TURN):
            self._get()
            clock.append(cpu_seconds(self._worker))
        self._turns.append(median(b - a for a, b in pairwise(clock)) * 1e6)
        self._sum += (clock[-1] - clock[0]) * 1e6

    def result(self) -> Result:
        seconds = time.monotonic() - self._began
        master = (cpu_seconds(self.server.pid) - self._master) / seconds * 1e6
        return Result(self._turns, self._sum / REQUESTS, master)


@contextlib.contextmanager
def running(side: Side, folder: Path) -> Iterator[Server]:
    config = folder / "gunicorn.conf.py"
    pages = folder / "pages"
    pages.mkdir(parents=True)
    config.write_text(side.config)
    environ = {**dict(side.environ), "PROMETHEUS_MULTIPROC_DIR": str(pages)}
    with gunicorn(side.app, config, python=side.python, environ=environ) as server:
        yield server


def served(server: Server, pages: Path) -> bytes:
    """What our exporter process serves."""
    return get(server.metrics_port, "/metrics")


def check_recorded(side: Side, server: Server, pages: Path) -> None:
    """Who does not record what he is asked has no costs that could be compared."""
    if side.metrics is None:
        return
    metrics = side.metrics

    def seen() -> float:
        with contextlib.suppress(OSError):
            for line in metrics(server, pages).splitlines():
                if line.startswith(b"gunicorn_worker_requests_total{"):
                    return float(line.rpartition(b" ")[2])
        return 0

    sent = WARM_UP + REQUESTS
    wait_until(
        lambda: seen() >= sent,
        lambda: (
            f"{sent} requests in the metrics of {side.title}, which have {seen()}; "
            f"its log:\n{server.log}"
        ),
    )


def shuffled(items: Iterable[T]) -> list[T]:
    """In another order each time, so that no side always profits from who went before it."""
    return sorted(items, key=lambda _: random.random())


def one_round(all_sides: list[Side]) -> dict[str, Result]:
    """A round of requests to fresh servers, all running side by side and asked in turns."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(memory_folder())
        servers = {
            side: stack.enter_context(running(side, folder / side.title))
            for side in shuffled(all_sides)
        }
        measured = {side: Measured(server, side.header) for side, server in servers.items()}
        for _ in range(REQUESTS // TURN):
            for one in shuffled(measured.values()):
                one.take_a_turn()
        results = {side.title: one.result() for side, one in measured.items()}
        for side, server in servers.items():
            check_recorded(side, server, folder / side.title / "pages")
        for server in servers.values():
            server.end()
        return results


def compared(own: list[Result], plain: list[Result]) -> tuple[Spread, Spread]:
    """What requests to one side cost more than to the other: the typical one, and on average.

    In each round by what part more, so that it doesn't matter how fast the machine was; then that
    part of what a plain request usually takes.
    """
    usual = median(median(r.turns) for r in plain)
    typical, means = [], []
    for ours, theirs in zip(own, plain, strict=True):
        # On an event loop a clock can stand still from one request to the next: no time to compare.
        turns = zip(ours.turns, theirs.turns, strict=True)
        parts = [a / b - 1 for a, b in turns if a and b]
        typical.append(median(parts) * usual)
        means.append((ours.mean / theirs.mean - 1) * usual)
    return spread(typical), spread(means)
