import os
import signal
import time

import psutil
import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.storage import Process
from gunicorn_prometheus_master import identity
from gunicorn_prometheus_master.sampling import ProcessCollector

NOBODY = 65534


def worker(pid, number="0", started=None, alive=True, role="worker"):
    name = f"{role}-{number}"
    return Process(name, role, number, alive=alive, pid=pid, started=started or time.time())


def sample(collector, *processes):
    return {
        family.name: {s.labels["worker_id"]: s.value for s in family.samples}
        for family in collector.collect(processes)
    }


def test_memory_threads_and_descriptors_of_a_worker(child):
    pid = child(signal.pause)
    found = sample(ProcessCollector(), worker(pid, "7"))
    process = psutil.Process(pid)
    assert found[c.WORKER_MEMORY.name]["7"] == pytest.approx(process.memory_info().rss, rel=0.2)
    assert found[c.WORKER_THREADS.name] == {"7": 1}
    assert found[c.WORKER_OPEN_FDS.name] == {"7": process.num_fds()}
    assert found[c.WORKER_CPU.name].keys() == {"7"}


@pytest.mark.skipif(os.geteuid() != 0, reason="changing users takes root")
def test_of_a_worker_that_has_changed_its_user_that_user_sees_all_but_descriptors(child, until):
    def change_user():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        signal.pause()

    pid = child(change_user)
    until(lambda: psutil.Process(pid).uids().real == NOBODY)
    with identity.acting_as(NOBODY, NOBODY):
        found = sample(ProcessCollector(), worker(pid))
    assert {name for name, values in found.items() if values} == {
        family.name for family in (c.WORKER_MEMORY, c.WORKER_CPU, c.WORKER_THREADS)
    }


def test_cpu_use_is_that_since_the_scrape_before(child, until):
    def burn():
        while True:
            pass

    busy, idle = child(burn), child(signal.pause)
    collector = ProcessCollector()
    processes = worker(busy, "0"), worker(idle, "1")
    first = sample(collector, *processes)[c.WORKER_CPU.name]
    assert first == {"0": 0, "1": 0}
    until(lambda: psutil.Process(busy).cpu_times().user > 0.2)
    second = sample(collector, *processes)[c.WORKER_CPU.name]
    assert second["0"] > 10
    assert second["1"] < second["0"]


@pytest.mark.parametrize(
    "process",
    [
        lambda: worker(os.getpid(), role="master"),
        lambda: worker(os.getpid(), alive=False),
        lambda: worker(os.getpid(), alive=None),
        lambda: worker(None),
        lambda: worker(2**22 + 1),
        # The pid has been given to somebody younger than the slot's owner.
        lambda: worker(os.getpid(), started=psutil.Process().create_time() - 10),
    ],
)
def test_who_is_no_living_worker_of_this_host_is_left_out(process):
    assert not any(sample(ProcessCollector(), process()).values())


def test_a_worker_that_ends_between_two_scrapes_is_left_out(child):
    pid = child(signal.pause)
    collector = ProcessCollector()
    slot = worker(pid)
    assert sample(collector, slot)[c.WORKER_THREADS.name] == {"0": 1}
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not any(sample(collector, slot, worker(os.getppid(), "1", alive=False)).values())


def test_the_families_are_those_of_the_catalogue():
    collected = {
        family.name
        for family in c.FAMILIES
        if family.source == "collected" and family.name.startswith("gunicorn_worker_")
    }
    assert {family.name for family in ProcessCollector().collect([])} == collected
