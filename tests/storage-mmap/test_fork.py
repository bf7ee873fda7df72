import os
import signal

import pytest


def test_a_child_records_into_a_slot_of_its_own(directory, run, read):
    run(
        """
recorder = activate()
add(recorder, "a", 5)
assert in_child(lambda: add(recorder, "a", 2)) == 0
add(recorder, "a", 10)
""",
        directory,
    )
    assert read() == {("worker-0", "counter"): {"a": 15}, ("process-0", "counter"): {"a": 2}}


def test_a_child_continues_cells_that_the_parent_holds(directory, run, read):
    run(
        """
from prometheus_client import Counter, Gauge, Histogram
recorder = activate()
jobs, took = Counter("jobs", "help", ["q"]).labels("x"), Histogram("took", "help", buckets=[1])
jobs.inc(5); took.observe(0.5)
def child():
    assert jobs._value.get() == 0
    jobs.inc(2); took.observe(0.5); took.observe(2)
assert in_child(child) == 0
assert jobs._value.get() == 5
""",
        directory,
    )
    found = read()
    assert found["worker-0", "counter"]["jobs_total{q=x}"] == 5
    assert found["process-0", "counter"]["jobs_total{q=x}"] == 2
    assert found["worker-0", "histogram"] == {
        "took_sum": 0.5,
        "took_bucket{le=1.0}": 1,
        "took_bucket{le=+Inf}": 0,
    }
    assert found["process-0", "histogram"] == {
        "took_sum": 2.5,
        "took_bucket{le=1.0}": 1,
        "took_bucket{le=+Inf}": 1,
    }


def test_a_child_that_records_nothing_takes_no_slot(directory, run):
    run("activate(); assert in_child(lambda: None) == 0", directory)
    assert sorted(n for n in os.listdir(directory) if n.endswith(".slot")) == ["worker-0.slot"]


def test_what_a_child_records_first_counts_also_when_its_kind_is_new(directory, run, read):
    """The child's first store is into a page that the parent didn't have."""
    run(
        """
recorder = activate()
def child():
    add(recorder, "s", 3, "summary")
    add(recorder, "a", 2)
assert in_child(child) == 0
""",
        directory,
    )
    assert read() == {
        ("process-0", "summary"): {"s": 3},
        ("process-0", "counter"): {"a": 2},
    }


def test_a_child_that_only_records_a_new_kind_is_seen(directory, run, read):
    run("r = activate()\nassert in_child(lambda: add(r, 's', 3, 'summary')) == 0", directory)
    assert read() == {("process-0", "summary"): {"s": 3}}


def test_a_child_takes_the_role_that_was_meant_for_it(directory, run, read):
    run(
        """
recorder = activate("master")
recorder.fork_role = "worker"
assert in_child(lambda: add(recorder, "a")) == 0
def bound():
    assert recorder.bind("worker") == "worker-0"
    add(recorder, "a")
    assert in_child(lambda: add(recorder, "a")) == 0
assert in_child(bound) == 0
""",
        directory,
    )
    assert read() == {("worker-0", "counter"): {"a": 2}, ("process-0", "counter"): {"a": 1}}


def test_a_child_of_a_process_without_a_slot_gets_one(directory, run, read):
    run(
        """
recorder = activate(role=None)
add(recorder, "a", 5)
assert in_child(lambda: add(recorder, "a", 2)) == 0
recorder.bind("worker")
""",
        directory,
    )
    assert read() == {("process-0", "counter"): {"a": 2}, ("worker-0", "counter"): {"a": 5}}


def test_grandchildren_record_into_slots_of_their_own(directory, run, read):
    run(
        """
recorder = activate()
def grandchild():
    add(recorder, "a", 4)
def child():
    # One forked before and one after the child has a slot.
    assert in_child(grandchild) == 0
    add(recorder, "a", 2)
    pid = os.fork()
    if pid == 0:
        add(recorder, "a", 8)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    add(recorder, "a", 2)
add(recorder, "a", 1)
assert in_child(child) == 0
add(recorder, "a", 1)
""",
        directory,
    )
    # The first grandchild's slot is free again when the child takes one, and its count goes on.
    assert read() == {
        ("worker-0", "counter"): {"a": 2},
        ("process-0", "counter"): {"a": 8},
        ("process-1", "counter"): {"a": 8},
    }


def test_many_children_at_once_lose_nothing(directory, run, read):
    run(
        """
recorder = activate()
add(recorder, "a", 0)
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        for _ in range(200):
            add(recorder, "a")
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
""",
        directory,
    )
    values = [values["a"] for values in read().values()]
    assert len(values) <= 13
    assert sum(values) == 12 * 200


def test_a_child_does_not_hold_its_parents_slot(directory, start, until, run, read):
    script = start(
        """
recorder = activate()
add(recorder, "a", 5)
pid = os.fork()
if pid == 0:
    signal.pause()
say(pid)
signal.pause()
""",
        directory,
    )
    child = int(script.line())
    try:
        script.kill()
        os.kill(child, 0)  # it lives on
        run("r = activate(); assert r.process == 'worker-0'; add(r, 'a', 2)", directory)
        assert read() == {("worker-0", "counter"): {"a": 7}}
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_parent_keeps_its_slot_while_children_come_and_go(directory, start, run):
    script = start(
        """
recorder = activate()
for _ in range(3):
    assert in_child(lambda: add(recorder, "a")) == 0
say("ready")
sys.stdin.read()
""",
        directory,
    )
    script.line()
    run("assert activate().process == 'worker-1'", directory)
    assert script.end() == 0


@pytest.mark.long
def test_a_lock_held_by_a_thread_at_the_fork_does_not_stop_the_child(directory, run, read):
    """Four threads record without a pause while the main thread forks a hundred times."""
    run(
        """
recorder = activate()
stop = threading.Event()
def busily():
    while not stop.is_set():
        add(recorder, "busy")
threads = [threading.Thread(target=busily) for _ in range(4)]
for thread in threads:
    thread.start()
def child():
    signal.alarm(20)
    add(recorder, "a")
for _ in range(100):
    assert in_child(child) == 0
stop.set()
for thread in threads:
    thread.join()
""",
        directory,
        env={"PYTHONWARNINGS": "error,ignore::DeprecationWarning"},  # of threads and fork
    )
    assert read()["process-0", "counter"]["a"] == 100


MULTIPROCESSING = """
import multiprocessing
import pages
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    recorder = activate()
    pages.jobs.inc(5)
    process = context.Process(target=pages.work)
    process.start(); process.join()
    assert process.exitcode == 0, process.exitcode
    pages.jobs.inc(5)
    print(pages.jobs._value.get())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_with_any_start_method_leaves_the_parent_alone(
    directory, run, read, tmp_path, method
):
    (tmp_path / "pages.py").write_text(
        "from prometheus_client import Counter\n"
        "jobs = Counter('jobs', 'help')\n"
        "def work(): jobs.inc(2)\n"
    )
    done = run(MULTIPROCESSING, directory, method, env={"PYTHONPATH": str(tmp_path)})
    assert done.stdout == "10.0\n"
    # A process begun from scratch knows nothing of us, unless it activates recording itself.
    child = {("process-0", "counter"): {"jobs_total": 2}} if method == "fork" else {}
    assert read() == {("worker-0", "counter"): {"jobs_total": 10}, **child}


def test_a_pool_of_forked_processes_loses_nothing(directory, run, read, tmp_path):
    run(
        """
import multiprocessing
recorder = activate()
from prometheus_client import Counter
jobs = Counter("jobs", "help")
def work(n):
    jobs.inc(n)
    return n
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert sum(pool.map(work, range(100), chunksize=1)) == 4950
    pool.close()
    pool.join()
""",
        directory,
    )
    totals = [values["jobs_total"] for values in read().values() if "jobs_total" in values]
    assert sum(totals) == 4950
