"""CPU time that a request costs more than without metrics, with the route of a framework resolved.

``bench_routes.py [SCRATCH [FRAMEWORK ...]]`` measures only the frameworks named.
"""

from __future__ import annotations

import sys

from _measure import table
from _requests import REQUESTS
from bench_kinds import ROUNDS, Kind, measure


def on_sync(app: str) -> Kind:
    return Kind("sync", "PrometheusWorker", f"_frameworks.{app}", 6.0)


def on_uvicorn(app: str) -> Kind:
    return Kind(
        "uvicorn_worker.UvicornWorker", "PrometheusUvicornWorker", f"_frameworks.{app}", 10.0
    )


FRAMEWORKS = {
    "flask": on_sync("flask_app:app"),
    "django": on_sync("django_app:app"),
    "pyramid": on_sync("pyramid_app:app"),
    "falcon": on_sync("falcon_app:app"),
    "bottle": on_sync("bottle_app:app"),
    "starlette": on_uvicorn("starlette_app:app"),
    "fastapi": on_uvicorn("fastapi_app:app"),
}


def run(names: list[str]) -> None:
    rows = []
    for name in names:
        rows.append(measure(name, FRAMEWORKS[name]))
        print(*rows[-1], sep="  ", flush=True)
    table(
        f"CPU us of a request, median of {ROUNDS} rounds of {REQUESTS:,} requests "
        "[95 % range of the median]",
        ["framework", "plain", "added", "added (means)", "wanted"],
        rows,
    )


if __name__ == "__main__":
    run(sys.argv[2:] or list(FRAMEWORKS))
