"""CPU time of requests for ever other paths, beside that of requests for always the same one.

A scanner asks for 50,000 paths; what its requests cost the worker more than those for one path is
what bounded labels cost. Both come from the same server, in turns.
"""

from __future__ import annotations

import itertools
import sys
from itertools import pairwise
from statistics import median

from _gunicorn import Server, get, gunicorn
from _measure import at_most, cpu_seconds, in_turns, memory_folder, ratio, table
from _requests import NO_CONTROL_SOCKET

#: The application answers 200 for whatever it is asked.
APP = "_hello:app"
PATHS = 50_000
TURN = 250
CLASSES = {"plain": "sync", "ours": "gunicorn_prometheus_exporter.PrometheusWorker"}
MOST = 1.02


def turns_of(server: Server) -> list[list[float]]:
    """CPU us of a request for ever other paths, and for one, turn by turn."""
    (worker,) = server.workers()
    numbers = itertools.count()

    def typical(paths: list[str]) -> float:
        clock = [cpu_seconds(worker)]
        for path in paths:
            get(server.port, path)
            clock.append(cpu_seconds(worker))
        return median(b - a for a, b in pairwise(clock)) * 1e6

    # As long as those of the scanner, since to read them takes its time.
    return in_turns(
        PATHS // TURN,
        lambda: typical([f"/scan/{next(numbers):06}/admin.php" for _ in range(TURN)]),
        lambda: typical(["/scan/000000/admin.php"] * TURN),
    )


def run() -> None:
    rows: list[list[str]] = []
    ratios: list[float] = []
    for name, worker_class in CLASSES.items():
        with memory_folder() as folder:
            config, pages = folder / "gunicorn.conf.py", folder / "pages"
            pages.mkdir()
            config.write_text(f"{NO_CONTROL_SOCKET}worker_class = {worker_class!r}\n")
            environ = {"PROMETHEUS_MULTIPROC_DIR": str(pages)}
            with gunicorn(APP, config, environ=environ) as server:
                server.ready()
                scanned, same = turns_of(server)
                found = ratio(scanned, same)
                size = sum(page.stat().st_size for page in pages.iterdir())
        ratios.append(found.median)
        cells = [f"{median(same):.1f}", f"{median(scanned):.1f}", found.show(4), f"{size:,}"]
        rows.append([name, *cells])
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    table(
        f"CPU us of a request, median of {PATHS // TURN} turns of {TURN} requests",
        ["worker", "one path", "50,000 paths", "ratio [95 % range]", "bytes of pages"],
        rows,
    )
    # Plain Gunicorn has a ratio as well: what is new in every request is in no cache.
    at_most("ratio of ours / ratio of plain", ratios[1] / ratios[0], MOST)


if __name__ == "__main__":
    run()
