"""Scrapes beside hostile clients, by prometheus_client's own server and ours; and 200 at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import trustme
from _gunicorn import Server, free_port, get, gunicorn, wait_until
from _hostile import CROWDS, Crowd, scrape, scrape_in_parallel
from _measure import at_least, in_turns, memory_folder, ratio, spread, table

SETS = 2_000
WORKERS, SCRAPERS, LOADERS = 4, 200, 2
SECONDS, ROUNDS = 4.0, 6

STOCK = """
import sys
from prometheus_client import Gauge, start_http_server
gauge = Gauge("many", "help", ["label"])
for number in range(int(sys.argv[4])):
    gauge.labels(f"label {number}").set(number)
start_http_server(int(sys.argv[1]), "127.0.0.1", certfile=sys.argv[2], keyfile=sys.argv[3])
import signal
signal.pause()
"""
RECORD = """
import sys
from prometheus_client import Gauge
gauge = Gauge("many", "help", ["label"])
for number in range(int(sys.argv[1])):
    gauge.labels(f"label {number}").set(number)
"""


@contextlib.contextmanager
def stock(folder: Path) -> Iterator[int]:
    """prometheus_client's server with TLS; gives its port."""
    port = free_port()
    files = (str(folder / "crt"), str(folder / "key"))
    with ended([sys.executable, "-c", STOCK, str(port), *files, str(SETS)], {}):
        yield port


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[int]:
    """The sidecar with TLS, on what another process has recorded; gives its port."""
    port = free_port()
    pages = folder / "pages"
    pages.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(pages)}
    command = [sys.executable, "-c", RECORD, str(SETS)]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    environment |= {
        "PROMETHEUS_METRICS_PORT": str(port),
        "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
        "PROMETHEUS_SSL_CERTFILE": str(folder / "crt"),
        "PROMETHEUS_SSL_KEYFILE": str(folder / "key"),
    }
    with ended([sys.executable, "-m", "gunicorn_prometheus_server"], environment):
        yield port


@contextlib.contextmanager
def ended(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """A program that is killed in the end."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def beside(side: Callable[[Path], contextlib.AbstractContextManager[int]], crowd: str) -> str:
    """How scrapes go beside that crowd, in words."""
    with memory_folder() as folder:
        issued = trustme.CA().issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(str(folder / "crt"))
        issued.private_key_pem.write_to_path(str(folder / "key"))
        with side(folder) as port:
            wait_until(lambda: scrape(port)[-1], lambda: "a scrape")
            hostile = Crowd(port)
            CROWDS[crowd](hostile)
            seconds = scrape(port)
            hostile.end()
    done = [one for one in seconds if one is not None]
    if not done:
        return "none succeeds"
    failed = len(seconds) - len(done)
    return f"{median(done) * 1e3:.1f} ms" + (f", {failed} of {len(seconds)} fail" if failed else "")


def hostile_clients() -> None:
    sides = {"prometheus_client": stock, "ours": ours}
    rows = [[crowd, *(beside(side, crowd) for side in sides.values())] for crowd in CROWDS]
    table("A scrape by TLS beside ...", ["", *sides], rows)


# 200 scrapers and an application


def load(port: int, seconds: float) -> int:
    """Ask the application for so long; gives the number of answers."""
    deadline = time.monotonic() + seconds

    def ask(_: int) -> int:
        number = 0
        while time.monotonic() < deadline:
            get(port)
            number += 1
        return number

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(8)))


def burn(seconds: float) -> None:
    """Do nothing but compute."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sum(range(1_000))


class Loaded:
    """A server under load, and processes that do something beside."""

    def __init__(self, server: Server) -> None:
        self._server = server
        context = multiprocessing.get_context("spawn")
        self._pool = context.Pool(LOADERS + 2)
        self.scrapes = self.failures = 0

    def _throughput(self, beside: Callable[[], list[object]]) -> float:
        loaders = [
            self._pool.apply_async(load, (self._server.port, SECONDS)) for _ in range(LOADERS)
        ]
        others = beside()
        answers = sum(loader.get() for loader in loaders)
        for other in others:
            result = other.get()  # type: ignore[attr-defined]  # of a private class
            if result is not None:
                self.scrapes += result[0]
                self.failures += result[1]
        return answers / SECONDS

    def alone(self) -> float:
        return self._throughput(list)

    def beside_two_that_compute(self) -> float:
        return self._throughput(
            lambda: [self._pool.apply_async(burn, (SECONDS,)) for _ in range(2)]
        )

    def beside_scrapers(self) -> float:
        arguments = (self._server.metrics_port, SCRAPERS, SECONDS)
        return self._throughput(lambda: [self._pool.apply_async(scrape_in_parallel, arguments)])

    def end(self) -> None:
        self._pool.terminate()
        self._pool.join()


def many_scrapers() -> None:
    with memory_folder() as folder:
        config = folder / "conf.py"
        config.write_text(
            "control_socket_disable = True\n"
            'worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"\n'
        )
        with gunicorn("_hello:app", config, workers=WORKERS) as server:
            server.ready()
            wait_until(lambda: get(server.metrics_port, "/metrics"), lambda: "a scrape")
            loaded = Loaded(server)
            try:
                loaded.alone()
                alone, computing, scraping = in_turns(
                    ROUNDS, loaded.alone, loaded.beside_two_that_compute, loaded.beside_scrapers
                )
            finally:
                loaded.end()
    rows = [
        [title, spread(values).show(0), ratio(values, alone).show(2, "x")]
        for title, values in (
            ("alone", alone),
            ("beside two processes that only compute", computing),
            (f"beside {SCRAPERS} scrapers", scraping),
        )
    ]
    table(
        f"Requests a second of {WORKERS} workers, median [95 % range of the median]",
        ["", "requests/s", "of alone"],
        rows,
    )
    print(f"\n{loaded.scrapes:,} scrapes, {loaded.failures} failed\n")
    at_least(
        "throughput beside the scrapers, of that beside two computing processes",
        ratio(scraping, computing).median,
        1.0,
    )


if __name__ == "__main__":
    hostile_clients()
    many_scrapers()
