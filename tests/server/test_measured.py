"""What is measured of workers is passed on to other hosts, and added up there."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import Metric

from gunicorn_prometheus_core.checking import Checking
from gunicorn_prometheus_core.storage import Process
from gunicorn_prometheus_server.measured import Everywhere, Measured

MEMORY, CPU = "gunicorn_worker_memory_bytes", "gunicorn_worker_cpu_percent"


def worker(number, pid):
    return Process(f"worker-{number}", "worker", str(number), alive=True, pid=pid, started=1.0)


class Processes:
    """Measures workers: their memory is their pid."""

    asked = 0

    def collect(self, processes):
        self.asked += 1
        memory, cpu = Metric(MEMORY, "Memory.", "gauge"), Metric(CPU, "CPU.", "gauge")
        for one in processes:
            memory.add_sample(MEMORY, {"worker_id": one.number}, one.pid)
            cpu.add_sample(CPU, {"worker_id": one.number}, 0.5)
        return [memory, cpu]


def published(*pids):
    """The snapshots of a host with these workers, as others get them."""
    measured = Measured({"process": Processes()})
    return measured.snapshots([worker(number, pid) for number, pid in enumerate(pids)])


def sums(collector, *pids):
    metrics = collector.collect([worker(number, pid) for number, pid in enumerate(pids)])
    return {
        (sample.name, sample.labels["worker_id"]): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_workers_of_one_number_are_added_up():
    others = [
        replace(one, instance=name)
        for name, pids in (("b", (10, 20)), ("c", (100,)))
        for one in published(*pids)
    ]
    everywhere = Everywhere(Processes(), lambda: Checking().snapshots(others))
    assert sums(everywhere, 1) == {
        (MEMORY, "0"): 111,
        (MEMORY, "1"): 20,
        (CPU, "0"): 1.5,
        (CPU, "1"): 0.5,
    }
    # Where there are no workers of its own it is those of the others, as on a sidecar's host.
    assert sums(everywhere)[MEMORY, "0"] == 110
    # Nobody knows who of them lives while their storage is down.
    others[:] = [replace(one, process=replace(one.process, alive=False)) for one in others]
    assert sums(everywhere, 1) == {(MEMORY, "0"): 1, (CPU, "0"): 0.5}


def test_it_is_measured_every_ten_seconds_unless_processes_come_or_go():
    now, collector = 50.0, Processes()
    measured = Measured({"process": collector}, lambda: now)
    (first,) = measured.snapshots([worker(0, 1)])
    now += 9.9
    assert measured.snapshots([worker(0, 1)]) == [first]
    assert collector.asked == 1
    now += 0.2
    (later,) = measured.snapshots([worker(0, 1)])
    assert collector.asked == 2
    # What readers know of its series still holds.
    assert later.keys is first.keys
    assert later.at is first.at
    (both,) = measured.snapshots([worker(0, 1), worker(1, 2)])
    assert len(both.keys) == 4
    assert measured.snapshots([]) == ()


def test_a_collector_that_fails_costs_only_its_values():
    class Failing:
        def collect(self, processes):
            raise KeyError("a defect")

    assert Measured({"process": Failing()}).snapshots([worker(0, 1)]) == ()
    assert Measured({}).snapshots([worker(0, 1)]) == ()
