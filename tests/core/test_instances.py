"""Several hosts in one view."""

from __future__ import annotations

from array import array
from dataclasses import replace

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import key, sample_keys
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_core.text import TEXT_0_0_4


class View:
    """Snapshots of several instances, as a storage."""

    def __init__(self):
        self.snapshots = []

    def add(self, instance, process, kind, cells, *, alive=True, started=None):
        role, _, number = process.rpartition("-")
        values = array("d", (number for pair in cells.values() for number in pair))
        known = Process(process, role, number, alive, started=started)
        at = range(0, 2 * len(cells), 2)
        self.snapshots.append(Snapshot(known, kind, list(cells), at, memoryview(values), instance))

    def count(self, instance, process, value, name="jobs"):
        self.add(instance, process, "counter", {key(name, f"{name}_total", {}, "help"): (value, 0)})

    def collect(self):
        return self.snapshots

    def processes(self):
        return [snapshot.process for snapshot in self.snapshots]

    def samples(self):
        lines = Exposition(self).render(TEXT_0_0_4).decode().splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        assert len({name for name, _ in pairs}) == len(pairs), "a series is there twice"
        return {name: float(value) for name, value in pairs}


def test_counters_are_summed_exactly_in_whatever_order():
    """A counter that falls by rounding when a host goes would look like a restart."""
    parts = [0.1] * 10 + [1e16, -1e16]
    seen = set()
    for turn in range(len(parts)):
        view = View()
        for number, part in enumerate(parts[turn:] + parts[:turn]):
            view.count(f"host-{number}", "worker-0", part)
        seen.add(view.samples()["jobs_total"])
    assert seen == {1.0}


def test_workers_of_one_number_are_summed_over_hosts():
    view = View()
    labels = {"method": "GET", "endpoint": "/", "status": "200"}
    keys = sample_keys(c.HTTP_DURATION, labels)
    for instance, count in (("a", 2.0), ("b", 3.0)):
        cells = dict.fromkeys(keys, (count, 0.0))
        view.add(instance, "worker-0", "histogram", cells)
    found = view.samples()
    buckets = len(c.HTTP_DURATION.buckets) + 1
    assert found['gunicorn_worker_requests_total{worker_id="0"}'] == 5 * buckets
    assert found['gunicorn_worker_request_duration_seconds_sum{worker_id="0"}'] == 5
    assert found['gunicorn_worker_request_duration_seconds_count{worker_id="0"}'] == 5 * buckets


def test_states_that_were_entered_in_the_same_second_are_one_series():
    view = View()
    stored = key(c.WORKER_STATE.name, c.WORKER_STATE.name, {"state": "running"}, "help")
    for instance in "ab":
        view.add(instance, "worker-0", "gauge_liveall", {stored: (1000.5, 0.0)})
    assert [v for n, v in view.samples().items() if n.startswith(c.WORKER_STATE.name)] == [2.0]


def test_the_oldest_worker_of_a_number_gives_the_uptime():
    view = View()
    for instance, started in (("a", 1000.0), ("b", 2000.0)):
        view.add(instance, "worker-0", "counter", {}, started=started)
    (uptime,) = (v for n, v in view.samples().items() if n.startswith(c.WORKER_UPTIME.name))
    (older,) = (replace(one.process) for one in view.snapshots if one.instance == "a")
    view.snapshots = [one for one in view.snapshots if one.instance == "a"]
    (alone,) = (v for n, v in view.samples().items() if n.startswith(c.WORKER_UPTIME.name))
    assert older.started == 1000.0
    assert 0 <= alone - uptime < 60


def test_processes_of_one_name_are_told_apart_by_their_instance():
    view = View()
    for instance, value in (("a-1", 1.0), ("b-2", 2.0)):
        for mode in ("all", "liveall"):
            cells = {key(mode, mode, {}, "help"): (value, 0.0)}
            view.add(instance, "worker-0", f"gauge_{mode}", cells)
    found = view.samples()
    for mode in ("all", "liveall"):
        assert found[f'{mode}{{pid="a-1/worker-0"}}'] == 1
        assert found[f'{mode}{{pid="b-2/worker-0"}}'] == 2
