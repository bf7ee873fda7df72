"""prometheus_client's metrics record here from activation on, whenever they were made."""

import os

import pytest

METRICS = """
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
registry = CollectorRegistry()
jobs = Counter("jobs", "help")
by_queue = Counter("by_queue", "help", ["q", "r"], registry=registry)
depth = Gauge("depth", "help", multiprocess_mode="sum")
recent = Gauge("recent", "help", ["q"], multiprocess_mode="mostrecent", registry=None)
took = Histogram("took", "help", ["q"], buckets=[1, 2])
size = Summary("size", "help")
"""
USE = """
jobs.inc(2)
by_queue.labels("x", "1").inc(3)
depth.set(4); depth.dec()
recent.labels("x").set(5)
took.labels("x").observe(0.5); took.labels("x").observe(1.5)
size.observe(6)
"""
ONCE = {
    ("worker-0", "counter"): {"jobs_total": 2, "by_queue_total{q=x,r=1}": 3},
    ("worker-0", "gauge_sum"): {"depth": 3},
    ("worker-0", "gauge_mostrecent"): {"recent{q=x}": 5},
    ("worker-0", "histogram"): {
        "took_sum{q=x}": 2,
        "took_bucket{le=1.0,q=x}": 1,
        "took_bucket{le=2.0,q=x}": 1,
        "took_bucket{le=+Inf,q=x}": 0,
    },
    ("worker-0", "summary"): {"size_count": 1, "size_sum": 6},
}
GAUGES = {("worker-0", "gauge_sum"), ("worker-0", "gauge_mostrecent")}
TWICE = {
    place: {name: value * (1 if place in GAUGES else 2) for name, value in values.items()}
    for place, values in ONCE.items()
}


@pytest.mark.parametrize("stock_mode", [False, True], ids=["in memory", "in pid files"])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (METRICS + USE + "activate()", ONCE),
        ("activate()" + METRICS + USE, ONCE),
        (METRICS + "activate()" + USE, ONCE),
        (METRICS + USE + "activate()" + USE, TWICE),
        (METRICS + USE + "r = activate(role=None)" + USE + "r.bind('worker')", TWICE),
    ],
    ids=["used before", "made after", "made before", "used before and after", "bound late"],
)
def test_metrics_made_or_used_before_or_after_activation(
    directory, run, read, script, expected, stock_mode
):
    run(script, directory, env={"PROMETHEUS_MULTIPROC_DIR": directory} if stock_mode else None)
    found = read()
    # Values that are zero before they are set are there, too.
    assert {place: found[place] for place in expected} == expected
    assert {place[0] for place in found} == {"worker-0"}
    assert not [name for name in os.listdir(directory) if name.split("_")[-1][:-3].isdigit()]


def test_files_of_other_processes_are_left_alone(directory, run, read):
    stock = {"PROMETHEUS_MULTIPROC_DIR": directory}
    run(METRICS + USE, directory, env=stock)
    others = set(os.listdir(directory))
    run(METRICS + USE + "activate()", directory, env=stock)
    assert others < set(os.listdir(directory))
    (pid,) = {process for process, _ in read()} - {"worker-0"}
    assert read()[pid, "counter"]["jobs_total"] == 2


def test_what_a_metric_says_itself_is_unchanged_by_activation(directory, run):
    done = run(
        METRICS
        + USE
        + """
from prometheus_client import REGISTRY, generate_latest
def shown():
    lines = generate_latest(REGISTRY).decode() + generate_latest(registry).decode()
    return [line for line in lines.splitlines() if "_created" not in line]
before = [line for line in shown() if not line.startswith(("python_", "process_"))]
activate()
after = [line for line in shown() if not line.startswith(("python_", "process_"))]
assert after == before, (before, after)
say(len(after))
""",
        directory,
    )
    assert int(done.stdout) > 10


def test_time_of_a_mostrecent_gauge_is_kept(directory, run):
    run(
        METRICS
        + """
now = time.time()
activate()
recent.labels("x").set(5)
cells = recent.labels("x")._value
stamp = cells._page.view[cells._at + 1]
assert now <= stamp <= time.time(), stamp
""",
        directory,
    )


def test_activating_again_gives_the_recorder_there_is(directory, run):
    run(
        """
backend = MmapBackend()
assert backend.recorder() is None
recorder = backend.activate(directory)
assert MmapBackend().activate("/elsewhere") is recorder is MmapBackend().recorder()
""",
        directory,
    )


def test_importing_any_module_has_no_effect(directory, run):
    done = run(
        """
import importlib, logging, pkgutil
from prometheus_client import values
import gunicorn_prometheus_storage_mmap as package
modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
for name in modules: importlib.import_module(f"{package.__name__}.{name}")
assert values.ValueClass.__module__ == "prometheus_client.values"
assert threading.active_count() == 1 and not logging.root.handlers
assert MmapBackend().recorder() is None
say(*modules)
""",
        directory,
    )
    assert {"backend", "recorder", "values"} < set(done.stdout.split())
    assert os.listdir(directory) == []


def test_the_entry_point_is_found_by_its_name(directory, run):
    done = run(
        "from gunicorn_prometheus_core import plugins\n"
        "say(plugins.load(plugins.STORAGE, 'mmap')().activate(directory).bind('worker'))",
        directory,
    )
    assert done.stdout == "worker-0\n"
