"""The same program in prometheus_client's own multiprocess mode and in ours says the same.

Processes are told what to record, line by line; some are killed. Where ours
deliberately differs, the test says so.
"""

import json
import math
import random

import pytest
from prometheus_client import CollectorRegistry, exposition, parser
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapStorage

MODES = ["all", "min", "max", "sum", "mostrecent"]
MODES += [f"live{mode}" for mode in MODES]

PROGRAM = """
from prometheus_client import Counter, Gauge, Histogram, Summary
process = "stock"
if sys.argv[2] == "ours":
    process = activate().process
metrics = {
    "counter": Counter("jobs", "help", ["q"]),
    "histogram": Histogram("took", "help", ["q"], buckets=[0.5, 1, 2.5]),
    "summary": Summary("size", "help", ["q"]),
}
for mode in json.loads(sys.argv[3]):
    metrics[mode] = Gauge(f"g_{mode}", "help", ["q"], multiprocess_mode=mode)
say(process)
for line in sys.stdin:
    kind, label, value = json.loads(line)
    metric = metrics[kind].labels(label)
    if kind == "counter": metric.inc(value)
    elif kind in ("histogram", "summary"): metric.observe(value)
    else: metric.set(value)
    say("done")
"""


class Processes:
    """Processes of one of the two modes. Numbered by their order, whatever their pid."""

    def __init__(self, mode, path, start):
        self.mode, self.path, self._start = mode, str(path), start
        self.scripts, self.names = [], {}
        path.mkdir()

    def begin(self):
        # prometheus_client changes its mode by the environment only.
        env = {"PROMETHEUS_MULTIPROC_DIR": self.path} if self.mode == "stock" else None
        script = self._start(PROGRAM, self.path, self.mode, json.dumps(MODES), env=env)
        name = script.line()
        number = str(len(self.scripts))
        self.names[str(script.pid) if self.mode == "stock" else name] = number
        self.scripts.append(script)

    def record(self, number, kind, label, value):
        script = self.scripts[number]
        script.tell(json.dumps([kind, label, value]))
        assert script.line() == "done"

    def kill(self, number):
        script = self.scripts[number]
        script.kill()
        if self.mode == "stock":
            mark_process_dead(script.pid, self.path)

    def scraped(self):
        """{sample: value} with processes by number."""
        if self.mode == "stock":
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=self.path)
            text = exposition.generate_latest(registry)
        else:
            storage = MmapStorage(self.path)
            text = Exposition(storage).render(TEXT_0_0_4)
            storage.close()
        found = {}
        for family in parser.text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                if not family.name.startswith("gunicorn_"):
                    labels = dict(sample.labels)
                    if "pid" in labels:
                        labels["pid"] = self.names[labels["pid"]]
                    value = "NaN" if math.isnan(sample.value) else sample.value
                    identity = family.type, sample.name, tuple(sorted(labels.items()))
                    assert identity not in found
                    found[identity] = value
        return found


@pytest.fixture
def both(tmp_path, start):
    """Does the same in both modes."""
    modes = [Processes(mode, tmp_path / mode, start) for mode in ("stock", "ours")]

    class Both:
        stock, ours = modes

        def __getattr__(self, name):
            def do(*args):
                for processes in modes:
                    getattr(processes, name)(*args)

            return do

        def same(self):
            stock, ours = (processes.scraped() for processes in modes)
            assert ours == stock
            return ours

    return Both()


def random_use(both, rng, numbers, times):
    kinds = ["counter", "histogram", "summary", *MODES]
    for _ in range(times):
        kind, label = rng.choice(kinds), rng.choice("xyz")
        value = rng.choice([0, 1, 2.25, 7, 1e9])
        if kind in MODES:
            value = rng.choice([value, -value, math.inf, -math.inf])
            # With a NaN, which compares to nothing, stock's min and max depend on the order in
            # which the file system lists the files.
            value = math.nan if kind.endswith(("all", "sum")) and rng.random() < 0.1 else value
        both.record(rng.choice(numbers), kind, label, value)


@pytest.mark.parametrize("seed", range(2))
def test_processes_alive_and_dead(both, seed):
    rng = random.Random(seed)
    for _ in range(4):
        both.begin()
    random_use(both, rng, range(4), 150)
    assert len(both.same()) > 50
    both.kill(1)
    both.same()
    random_use(both, rng, [0, 2, 3], 50)
    both.same()
    for number in (0, 2, 3):
        both.kill(number)
    both.same()


@pytest.mark.parametrize("values", [(3, -1, 10), (10, 3, -1), (math.inf, 2, 1)], ids=str)
def test_a_successor_in_a_slot_shows_nowhere_but_in_all(both, values):
    for number, value in enumerate(values):
        both.begin()
        for mode in set(MODES) - {"all"}:
            both.record(number, mode, "x", value)
        both.record(number, "counter", "x", number + 1)
        both.kill(number)
        both.same()
    both.begin()
    both.same()


def test_counts_of_successors_in_a_slot_add_up(both):
    rng = random.Random(7)
    for number in range(3):
        both.begin()
        for _ in range(20):
            kind, label = rng.choice(["counter", "histogram", "summary"]), rng.choice("xyz")
            both.record(number, kind, label, rng.choice([0, 1, 2.25, 7]))
        both.kill(number)
        both.same()


def test_difference_a_slots_former_owner_is_no_longer_told_apart(both):
    """Stock keeps one ``all`` gauge for every process that has ever lived.

    Ours gives one for every slot: that of its last owner, also when it is
    dead, until another process takes the slot.
    """
    both.begin()
    both.record(0, "all", "x", 5)
    both.kill(0)
    both.same()
    both.begin()
    both.record(1, "all", "x", 7)
    stock, ours = both.stock.scraped(), both.ours.scraped()
    former = ("gauge", "g_all", (("pid", "0"), ("q", "x")))
    assert stock.pop(former) == 5
    assert ours == stock
