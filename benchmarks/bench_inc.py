"""What one operation on a metric costs: prometheus_client on our cells and on its own values."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from timeit import Timer

from _measure import at_least, in_turns, memory_folder, ratio, spread, table
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from gunicorn_prometheus_storage_mmap.backend import MmapBackend

CALLS = 20_000
ROUNDS = 41
LABELS = ["GET", "/api/items"]
OPERATIONS = {
    "Counter.inc()": lambda m: m[0].inc,
    "Counter.labels(2 values).inc()": lambda m: lambda: m[1].labels(*LABELS).inc(),
    "Gauge.set(1.5)": lambda m: lambda: m[2].set(1.5),
    "Histogram.observe(0.3)": lambda m: lambda: m[3].observe(0.3),
}


def metrics(value_class: type) -> tuple[Counter, Counter, Gauge, Histogram]:
    values.ValueClass = value_class
    labelled = Counter("labelled", "A counter", ["method", "endpoint"], registry=None)
    labelled.labels(*LABELS)  # which makes its value, while this is the class of values
    return (
        Counter("plain", "A counter", registry=None),
        labelled,
        Gauge("level", "A gauge", registry=None, multiprocess_mode="sum"),
        Histogram("seconds", "A histogram", registry=None),
    )


def nanoseconds(operation: Callable[[], None]) -> Callable[[], float]:
    timer = Timer(operation, timer=time.process_time)
    return lambda: timer.timeit(CALLS) / CALLS * 1e9


def recorded(directory: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample in a directory, as prometheus_client reads it."""
    found = MultiProcessCollector(CollectorRegistry(), path=str(directory)).collect()
    samples = [sample for metric in found for sample in metric.samples]
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for s in samples
        if not s.name.startswith("gunicorn_")  # what our recorder counts about itself
    }


def run(folder: Path) -> None:
    stock_folder, our_folder = folder / "stock", folder / "ours"
    stock_folder.mkdir()
    our_folder.mkdir()
    MmapBackend().activate(str(our_folder)).bind("worker")
    ours = metrics(values.ValueClass)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(stock_folder)
    stock = metrics(values.MultiProcessValue())

    rows = []
    factors = {}
    for name, operation in OPERATIONS.items():
        theirs, our = in_turns(ROUNDS, *(nanoseconds(operation(side)) for side in (stock, ours)))
        factors[name] = ratio(theirs, our)
        rows.append([name, spread(theirs).show(0), spread(our).show(0), factors[name].show(2, "x")])
    if recorded(stock_folder) != recorded(our_folder):
        raise SystemExit("the two sides have recorded different values: nothing was compared")
    table(
        f"CPU ns per call, median of {ROUNDS} turns of {CALLS:,} calls [95 % range of the median]",
        ["operation", "MmapedValue", "our cells", "faster by"],
        rows,
    )
    print()
    at_least("Counter.inc()", factors["Counter.inc()"].median, 2)


if __name__ == "__main__":
    with memory_folder() as memory:
        run(memory)
