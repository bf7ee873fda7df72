"""CPU time that a request costs more than on the plain worker of the same kind, for every kind.

``bench_kinds.py [SCRATCH [KIND ...]]`` measures only the kinds named.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import median

from _measure import spread, table
from _requests import NO_CONTROL_SOCKET, REQUESTS, Side, compared, one_round, served
from gunicorn import version_info

ROUNDS = 20

#: Plain eventlet on Gunicorn 26 and later: our worker without metrics, patched as with them.
EVENTLET = "gunicorn_prometheus_workers._eventlet.EventletWorker"
PATCHED = "import eventlet\neventlet.monkey_patch()\n"


@dataclass(frozen=True)
class Kind:
    plain: str
    ours: str
    app: str = "_hello:app"
    #: At most so many us more.
    most: float = 5.0
    config: str = ""


KINDS = {
    "sync": Kind("sync", "PrometheusWorker"),
    "gthread": Kind("gthread", "PrometheusThreadWorker", config="threads = 4\n"),
    "gevent": Kind("gevent", "PrometheusGeventWorker"),
    "gevent_pywsgi": Kind(
        "gunicorn.workers.ggevent.GeventPyWSGIWorker", "PrometheusGeventPyWSGIWorker"
    ),
    "eventlet": Kind(
        "eventlet" if version_info < (26,) else EVENTLET,
        "PrometheusEventletWorker",
        config=PATCHED,
    ),
    "tornado": Kind("tornado", "PrometheusTornadoWorker"),
    "asgi": Kind("asgi", "PrometheusASGIWorker", "_hello:asgi", 8.0),
    "uvicorn": Kind("uvicorn_worker.UvicornWorker", "PrometheusUvicornWorker", "_hello:asgi", 8.0),
}


def sides(kind: Kind) -> list[Side]:
    config = NO_CONTROL_SOCKET + kind.config
    plain = f'worker_class = "{kind.plain}"\n'
    ours = f'worker_class = "gunicorn_prometheus_exporter.{kind.ours}"\n'
    return [
        Side("plain", sys.executable, config + plain, kind.app),
        Side("ours", sys.executable, config + ours, kind.app, plain="plain", metrics=served),
    ]


def measure(name: str, kind: Kind) -> list[str]:
    """The row of one kind."""
    both = sides(kind)
    rounds = []
    for number in range(ROUNDS):
        rounds.append(one_round(both))
        if sys.stderr.isatty():
            print(f"\r{name}: round {number + 1} of {ROUNDS} ", end="", file=sys.stderr)
    own, plain = ([results[side.title] for results in rounds] for side in reversed(both))
    typical, means = compared(own, plain)
    verdict = "met" if typical.median <= kind.most else "MISSED"
    request = spread([median(result.turns) for result in plain])
    shown = [request.show(), typical.show(2, sign="+"), means.show(2, sign="+")]
    return [name, *shown, f"{kind.most:g} at most: {verdict}"]


def run(names: list[str]) -> None:
    rows = []
    for name in names:
        rows.append(measure(name, KINDS[name]))
        print(*rows[-1], sep="  ", flush=True)
    table(
        f"CPU us of a request, median of {ROUNDS} rounds of {REQUESTS:,} requests "
        "[95 % range of the median]",
        ["worker", "plain", "added", "added (means)", "wanted"],
        rows,
    )


if __name__ == "__main__":
    run(sys.argv[2:] or list(KINDS))
