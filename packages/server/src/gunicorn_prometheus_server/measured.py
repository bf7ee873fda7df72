"""What is measured of workers, over all hosts in view.

A process can be measured only where it runs. So every host publishes what it
has measured of its workers beside what they have recorded, and a scrape adds
up the workers of one number, as it does with all else (docs/adr/0016).
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from prometheus_client import Metric

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.collecting import Collecting, Collector
from gunicorn_prometheus_core.own import Labels, OwnCells
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.storage import Process, Snapshot

#: Name, in the group of collectors, of the one whose families are about a host's processes.
PROCESS = "process"
_ROLE = "measured"
_KIND = "gauge_livesum"
#: An idle worker needs a hundredth of a second of CPU time now and then, which is what the kernel
#: counts in. What changes is sent, so it had better change seldom.
_PERIOD_SECONDS = 10.0


class Measured:
    """Makes snapshots of what collectors measure here. Used by one thread."""

    def __init__(
        self, collectors: Mapping[str, Collector], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._collecting = Collecting(collectors)
        self._clock = clock
        self._due = clock()
        self._alive: frozenset[str] = frozenset()
        self._snapshots: Sequence[Snapshot] = ()

    def snapshots(self, processes: Sequence[Process]) -> Sequence[Snapshot]:
        """As they are now, or were within the last ten seconds while the same processes live.

        None where there is nothing to see.
        """
        alive = frozenset(f"{one.name} {one.pid}" for one in processes if one.alive)
        if self._clock() >= self._due or alive != self._alive:
            self._due, self._alive = self._clock() + _PERIOD_SECONDS, alive
            self._snapshots = self._measure(processes)
        return self._snapshots

    def _measure(self, processes: Sequence[Process]) -> Sequence[Snapshot]:
        found = {
            key(metric.name, sample.name, sample.labels, metric.documentation): sample.value
            for metric in self._collecting.collect(processes)
            for sample in metric.samples
        }
        if not found:
            return ()
        keys: Sequence[bytes] = list(found)
        at: Sequence[int] = range(0, 2 * len(keys), 2)
        for before in self._snapshots:
            if before.keys == keys:  # then others need not learn them again
                keys, at = before.keys, before.at
        values = array("d", chain.from_iterable((value, 0.0) for value in found.values()))
        process = Process(_ROLE, _ROLE, "0", alive=True)
        return [Snapshot(process, _KIND, keys, at, memoryview(values))]


class Everywhere:
    """The families of a collector with what other hosts have published of theirs; a collector."""

    def __init__(self, own: Collector, others: Callable[[], Iterable[Snapshot]]) -> None:
        self._own = own
        self._others = others
        self._cells = OwnCells()

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """Gauges, added up by their labels."""
        sums: dict[str, dict[Labels, float]] = {}
        helps = {name: family.help for name, family in c.BY_STORAGE_NAME.items()}

        def add(name: str, labels: Labels, value: float) -> None:
            family = sums.setdefault(name, {})
            family[labels] = family.get(labels, 0.0) + value

        for metric in self._own.collect(processes):
            helps[metric.name] = metric.documentation
            for sample in metric.samples:
                add(metric.name, tuple(sample.labels.items()), sample.value)
        published = [one for one in self._others() if one.process.role == _ROLE]
        for snapshot, own in self._cells.of(published):
            if snapshot.process.alive:
                for name, cells in own.cells.items():
                    for _, labels, at in cells:
                        add(name, labels, snapshot.values[at])
        for name, family in sums.items():
            metric = Metric(name, helps[name], "gauge")
            for labels, value in family.items():
                metric.add_sample(name, dict(labels), value)
            yield metric
