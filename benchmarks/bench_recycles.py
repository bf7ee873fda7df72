"""What 1,000 worker recycles leave behind: files, series, and the time of a scrape."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from _gunicorn import Server, get, gunicorn, wait_until
from _measure import OwnProcess, at_most, in_turns, memory_folder, ratio, spread, table
from _scraping import Ours, Side, Stock, timed

RECYCLES = 1_000
WORKERS = 2
ENDPOINTS = [f"/endpoint/{number}" for number in range(10)]
WARM_UP = 40 * len(ENDPOINTS)

CONFIG = """
control_socket_disable = True
with open("max_requests") as file:
    max_requests = int(file.read())
"""
OUR_CONFIG = CONFIG + 'worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"\n'
#: As prometheus_client's documentation says.
STOCK_CONFIG = f"""{CONFIG}
def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
"""


class Half:
    """A server of either side, its pages, and copies of them to be compared in turns."""

    def __init__(self, title: str, side: Side, folder: Path, server: Server) -> None:
        self.title, self.side = title, side
        self.server = server
        self._folder = folder
        self.sizes: list[tuple[int, int]] = []
        self.copies: list[Path] = []

    def ask(self, number: int) -> None:
        get(self.server.port, ENDPOINTS[number % len(ENDPOINTS)])

    def text(self) -> bytes:
        """A scrape as it is now: ours is served, stock has no server."""
        if self.side is Ours:
            return get(self.server.metrics_port, "/metrics")
        Stock.begin(str(self._folder / "pages"))
        return Stock.text()

    def take_stock(self) -> None:
        """Count files and series and keep a copy of the pages."""
        copy = self._folder / f"copy-{len(self.copies)}"
        shutil.copytree(self._folder / "pages", copy)
        self.copies.append(copy)
        series = sum(not line.startswith(b"#") for line in self.text().splitlines())
        self.sizes.append((len(list(copy.iterdir())), series))

    def reload(self, max_requests: int) -> None:
        """Replace the workers by others that end after so many requests."""
        former = set(self.server.workers())
        (self._folder / "max_requests").write_text(str(max_requests))
        os.kill(self.server.pid, signal.SIGHUP)
        wait_until(
            lambda: former.isdisjoint(now := self.server.workers()) and len(now) == WORKERS,
            lambda: f"other workers after SIGHUP; the log:\n{self.server.log}",
        )

    def total(self, start: str) -> float:
        """Sum of the samples whose lines start so."""
        lines = self.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def await_total(self, start: str, wanted: float) -> None:
        wait_until(
            lambda: self.total(start) == wanted,
            lambda: f"{wanted:g} {start}...}} in {self.title}, which has {self.total(start):g}",
        )


@contextlib.contextmanager
def running(title: str, side: Side, config: str, folder: Path) -> Iterator[Half]:
    pages = folder / "pages"
    pages.mkdir(parents=True)
    path = folder / "gunicorn.conf.py"
    path.write_text(config)
    (folder / "max_requests").write_text("0")
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(pages)}
    with gunicorn("_metered:app", path, workers=WORKERS, environ=environ) as server:
        server.ready()
        yield Half(title, side, folder, server)


def recycle(halves: list[Half]) -> None:
    for half in halves:
        # During a reload twice as many workers live, for which we keep room from then on.
        half.reload(max_requests=0)
    for number in range(WARM_UP):
        for half in halves:
            half.ask(number)
    for half in halves:
        half.take_stock()
        half.reload(max_requests=1)
    before = [half.total("app_requests_total{") for half in halves]
    for number in range(RECYCLES):
        for half in halves:
            half.ask(number)
    for half, counted in zip(halves, before, strict=True):
        half.await_total("app_requests_total{", counted + RECYCLES)
    halves[0].await_total("gunicorn_worker_exits_total{", RECYCLES + 2 * WORKERS)
    for half in halves:
        half.take_stock()


def scrape_times(half: Half, rounds: int, repeated: int) -> list[list[float]]:
    """CPU seconds of scrapes of both copies, in turns."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(OwnProcess(half.side.begin, str(copy))) for copy in half.copies
        ]
        sides = [
            lambda process=process: median(process.call(timed, half.side) for _ in range(repeated))
            for process in processes
        ]
        in_turns(2, *sides)  # The first scrapes prepare for all that follow.
        return in_turns(rounds, *sides)


def run(folder: Path) -> None:
    rows, factors = [], {}
    with contextlib.ExitStack() as stack:
        halves = [
            stack.enter_context(running("ours", Ours, OUR_CONFIG, folder / "ours")),
            stack.enter_context(running("stock", Stock, STOCK_CONFIG, folder / "stock")),
        ]
        recycle(halves)
    for half, rounds, repeated in zip(halves, (31, 3), (5, 1), strict=True):
        earlier, later = scrape_times(half, rounds, repeated)
        (files, series), (files_later, series_later) = half.sizes
        factors[half.title] = {
            "scrape": ratio(later, earlier).median,
            "files": files_later / files,
            "series": series_later / series,
        }
        rows.append(
            [
                half.title,
                *(f"{files:,}", f"{files_later:,}", f"{series:,}", f"{series_later:,}"),
                *(spread([x * 1e3 for x in times]).show(2) for times in (earlier, later)),
                ratio(later, earlier).show(2, "x"),
            ]
        )
    table(
        f"{WORKERS} workers, before and after {RECYCLES:,} recycles; CPU ms of a scrape,\n"
        "median [95 % range of the median]",
        ["", "files", "after", "series", "after", "scrape", "after", "slower by"],
        rows,
    )
    print()
    for what, factor in factors["ours"].items():
        at_most(f"ours, {what} after / before", factor, 1.2)


if __name__ == "__main__":
    with memory_folder() as memory:
        run(memory)
