"""Recording while recording: from threads, finalisers and signal handlers."""

import logging
import os
import threading

import pytest

from gunicorn_prometheus_core.recording import key


def test_threads_lose_no_count(recorder):
    """Each thread counts into one cell that all share, and makes series of its own."""
    shared = recorder.cells("counter", [key("shared", "shared", {}, "")])
    threads, times = 8, 5000
    together = threading.Barrier(threads)

    def count(number):
        together.wait()
        for n in range(times):
            with recorder.lock:
                shared.page.view[shared.at[0]] += 1
            if n % 100 == 0:
                own = recorder.cells("counter", [key("own", f"own{number}_{n}", {}, "")])
                with recorder.lock:
                    own.page.view[own.at[0]] += 1

    running = [threading.Thread(target=count, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert shared.page.view[shared.at[0]] == threads * times


def test_a_log_handler_that_counts_what_it_logs_does_not_hang(make_recorder, directory):
    """One thread logs, and its handler is about to count, when another has to complain."""
    recorder = make_recorder(role=None)
    logger = logging.getLogger("gunicorn.error.prometheus")
    logging_starts, complaining = threading.Event(), threading.Event()
    counted = []

    class Counts(logging.Handler):
        def emit(self, record):
            if record.getMessage() == "first":
                logging_starts.set()
                assert complaining.wait(20)
            counted.append(recorder.lock.acquire(timeout=5))
            recorder.lock.release()

    def notice(record):
        if "can't record into" in record.getMessage():
            complaining.set()
        return True

    handler = Counts()
    logger.addHandler(handler)
    logger.addFilter(notice)
    thread = threading.Thread(target=logger.error, args=("first",))
    try:
        thread.start()
        assert logging_starts.wait(20)
        os.rmdir(directory)
        recorder.bind("worker")
        thread.join()
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(notice)
    assert counted == [True, True]


def test_threads_lose_no_count_of_prometheus_clients_metrics(directory, run, read):
    run(
        """
from prometheus_client import Counter, Histogram, Summary
recorder = activate()
sys.setswitchinterval(1e-5)
jobs = Counter("jobs", "help", ["q"])
took, size = Histogram("took", "help", buckets=[1, 2]), Summary("size", "help")
def work():
    for n in range(3000):
        jobs.labels(str(n % 3)).inc()
        took.observe(n % 3 + 0.5)
        size.observe(2)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
""",
        directory,
    )
    found = read()
    assert found["worker-0", "counter"] == {f"jobs_total{{q={q}}}": 8000 for q in "012"}
    assert found["worker-0", "histogram"] == {
        "took_sum": 8000 * (0.5 + 1.5 + 2.5),
        "took_bucket{le=1.0}": 8000,
        "took_bucket{le=2.0}": 8000,
        "took_bucket{le=+Inf}": 8000,
    }
    assert found["worker-0", "summary"] == {"size_count": 24000, "size_sum": 48000}


def test_a_finaliser_that_makes_series_while_series_are_made(directory, run, read):
    """Garbage is collected at about every allocation, most of them made with the lock held."""
    run(
        """
import gc
from prometheus_client import Counter
recorder = activate()
finalised = Counter("finalised", "help", ["n"])
numbers = iter(range(10**6))
class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        finalised.labels(str(next(numbers))).inc()
signal.alarm(40)
gc.set_threshold(1)
for n in range(500):
    Cycle()
    add(recorder, f"new{n}")
gc.collect()
assert next(numbers) == 500
""",
        directory,
    )
    expected = {f"new{n}": 1 for n in range(500)}
    expected |= {f"finalised_total{{n={n}}}": 1 for n in range(500)}
    assert read()["worker-0", "counter"] == expected


def test_a_finaliser_that_makes_series_while_a_child_gets_its_slot(directory, run, read):
    """One after the other, beginning with this or that allocation since the child was forked."""
    done = run(
        """
import gc, itertools
recorder = activate("master")
kinds = ["counter", "histogram", "native", "summary", "gauge_livesum", "gauge_liveall"]
for kind in kinds[:3]:
    add(recorder, "first", 0, kind)
class Cycle:
    def __init__(self, numbers):
        self.me, self.numbers = self, numbers
    def __del__(self):
        n = next(self.numbers)
        if n < 60:
            Cycle(self.numbers)
        add(recorder, f"finalised{n % 7}", 1, kinds[n % len(kinds)])
def child(allocations):
    signal.alarm(40)
    gc.collect()
    gc.disable()
    numbers = itertools.count()
    Cycle(numbers)
    gc.set_threshold(allocations)
    gc.enable()
    assert recorder.bind("worker") == "worker-0", recorder.process
    gc.set_threshold(1)
    while next(numbers) < 60:
        recorder.tick()
    gc.set_threshold(700, 10, 10)
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    held = [os.path.basename(os.readlink(link)) for link in links if os.path.islink(link)]
    assert [name for name in held if name.endswith(".slot")] == ["worker-0.slot"], held
gc.collect()
say([n for n in range(1, 150, 4) if in_child(lambda: child(n))])
""",
        directory,
    )
    assert done.stdout == "[]\n", done.stderr
    # A child that was bound by a finaliser first has counted that in another slot.
    assert {process for process, _ in read()} <= {"master-0", "worker-0", "process-0"}


@pytest.mark.parametrize("main", ["stores", "makes series"])
def test_a_signal_handler_that_makes_series_while(directory, run, read, main):
    done = run(
        """
recorder = activate()
cells = recorder.cells("counter", [key("main", "main", {}, "")])
import itertools
numbers, handled, n = itertools.count(), 0, 0
def handler(number, frame):
    global handled
    number = next(numbers)  # itself may be interrupted by the next signal
    add(recorder, f"handled{number}")
    handled = max(handled, number + 1)
signal.signal(signal.SIGALRM, handler)
signal.alarm(40)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while handled < 500:
    if sys.argv[2] == "stores":
        with recorder.lock:
            cells.page.view[cells.at[0]] += 1
    else:
        add(recorder, f"new{n}")
    n += 1
signal.setitimer(signal.ITIMER_REAL, 0)
say(handled, n)
""",
        directory,
        main,
    )
    handled, n = map(int, done.stdout.split())
    expected = {f"handled{i}": 1 for i in range(handled)}
    expected |= {"main": n} if main == "stores" else {"main": 0}
    expected |= {f"new{i}": 1 for i in range(n)} if main == "makes series" else {}
    assert read()["worker-0", "counter"] == expected
