"""CPU time that exemplars and native histograms add to a request, with a trace and without.

Plain Gunicorn is asked the same: a header that is sent has to be read.
"""

from __future__ import annotations

import sys
from statistics import median

from _measure import at_most, spread, table
from _requests import NO_CONTROL_SOCKET, REQUESTS, Side, compared, one_round, served

ROUNDS = 24

WORKER_CLASS = 'worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"\n'
TRACEPARENT = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
#: What they may cost more than recording costs without them.
MOST = 1.5


def ours(title: str, plain: str, header: str = "", **settings: str) -> Side:
    environ = tuple((f"GUNICORN_PROMETHEUS_{name}", value) for name, value in settings.items())
    return Side(
        title,
        sys.executable,
        NO_CONTROL_SOCKET + WORKER_CLASS,
        environ=environ,
        header=header,
        plain=plain,
        metrics=served,
    )


WITHOUT, NO_TRACE, TRACE, NATIVE = "without", "no trace", "a trace", "native, a trace"
SIDES = [
    Side("plain", sys.executable),
    Side("plain, a trace", sys.executable, header=TRACEPARENT),
    ours(WITHOUT, "plain", EXEMPLARS="false"),
    ours(NO_TRACE, "plain"),
    ours(TRACE, "plain, a trace", TRACEPARENT),
    ours(NATIVE, "plain, a trace", TRACEPARENT, NATIVE_HISTOGRAMS="true"),
]


def run() -> None:
    rounds = [one_round(SIDES) for _ in range(ROUNDS)]
    rows, added = [], {}
    for side in SIDES:
        own = [results[side.title] for results in rounds]
        cells = [side.title, spread([median(r.turns) for r in own]).show(), ""]
        if side.plain:
            typical, _ = compared(own, [results[side.plain] for results in rounds])
            added[side.title] = typical.median
            cells[2] = typical.show(2, sign="+")
        rows.append(cells)
    table(
        f"CPU us, median of {ROUNDS} rounds of {REQUESTS:,} requests [95 % range of the median]",
        ["sync, 1 worker", "a request", "added"],
        rows,
    )
    for title in (NO_TRACE, TRACE, NATIVE):
        at_most(f"added, {title} / added, {WITHOUT}", added[title] / added[WITHOUT], MOST)


if __name__ == "__main__":
    run()
