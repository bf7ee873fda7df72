"""What is kept of hosts that are gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..recording import key
from ..storage import EXPIRES, KEPT_KINDS, REMARK_KINDS, REMOVALS, RETIRES, Remark, Snapshot
from .hosts import Host, cells, totals
from .place import Place
from .rules import rule
from .seeing import MODES, Hosts, look, same, until
from .suite import ValueTests
from .telling import G, H, X, Y, record, remarks, samples


class EndTests(ValueTests):
    """Tests of hosts that end, fall silent and come back."""

    shared = True

    @rule("Storage.retire")
    def test_one_that_cannot_retire_says_so(self, place: Place, host: Hosts) -> None:
        """A backend without the capability RETIRES raises NotImplementedError in ``retire``, with
        a message, and leaves everything as it is; one with it doesn't."""
        a, b = host("a"), host("b")
        a.count("x", 3)
        a.gauge("level", 5, "livesum")
        a.publish()
        before = cells(b.collect())
        if RETIRES in place.backend().capabilities:
            b.retire("nobody")
        else:
            with pytest.raises(NotImplementedError) as raised:
                b.retire(a.instance)
            assert str(raised.value), "NotImplementedError has no message"
        same(cells(b.collect()), before, "what is seen of another instance")

    @rule("Storage.retire")
    @pytest.mark.parametrize("by", ["itself", "another"])
    def test_what_is_kept_of_a_retired_instance(self, place: Place, host: Hosts, by: str) -> None:
        """Of a retired instance the kinds in KEPT_KINDS stay as they are, and the others vanish,
        whoever retires it and however often."""
        if not self._retires(place):
            return
        a, b = host("a"), host("b")
        for process in ("worker-0", "worker-1"):
            a.count("x", 3, process=process)
            for kind in ("histogram", "summary"):
                a.page(kind, process).set(key("h", "h_sum", {}, "Help."), 0.1)
            for mode in MODES:
                a.gauge("g", 5, mode, stamp=7.0, process=process)
        a.publish()
        b.count("x", 1)
        b.publish()
        expected = {name[1]: 0.0 for name in cells(a.snapshots()) if name[1] in KEPT_KINDS}
        for _ in range(2):
            (a if by == "itself" else b).retire(a.instance if by == "another" else "")
            found = b.collect()
            same({one.kind for one in found}, set(expected), "the kinds that are kept")
            same(totals(found), {"x": 6.0}, "counts that are kept")
            same(_sums(found, "histogram"), 0.2, "what a histogram has kept")
            same(_sums(found, "gauge_sum"), 10.0, "what gauge_sum has kept")
            same(_extreme(found, "gauge_max", max), 5.0, "what gauge_max has kept")
        living = [one.name for one in b.processes() if one.alive]
        assert not living, f"of a retired instance these are said to live: {living}"

    @rule("Storage.publish")
    def test_a_retired_instance_that_publishes_again_counts_once(
        self, place: Place, host: Hosts
    ) -> None:
        """After a publish an instance lives, also one that was retired, and nothing of it may
        count twice."""
        if not self._retires(place):
            return
        a, b = host("a"), host("b")
        a.count("x", 3)
        a.gauge("level", 5, "livesum")
        a.publish()
        for turn in range(1, 4):
            b.retire(a.instance)
            a.count("x")
            a.publish()
            a.collect()
            same(b.totals(), {"x": 3.0 + turn}, f"after {turn} times")
        same(b.gauges(), {("level", "livesum"): [5.0]}, "its live gauges")

    @rule("Storage.retire")
    def test_what_is_kept_of_many_is_no_more_than_of_a_few(self, place: Place, host: Hosts) -> None:
        """What is kept does not grow with the number of instances that have lived: counts are
        added up, and of gauges the value is kept that their mode picks."""
        if not self._retires(place):
            return
        observer = host("observer")
        sizes, all_set = [], []
        for number in range(1, 13):
            one = host(f"short{number}")
            level, stamp = 5.0 * number % 13, 7.0 * number % 13
            all_set.append((stamp, level))
            for process in ("worker-0", "worker-1"):
                self._live(one, process, level, stamp)
            one.publish()
            one.retire("")
            one.close()
            found = observer.collect()
            levels = [each for _, each in all_set]
            for kind, expected in (
                *((kind, 2.0 * number) for kind in ("counter", "histogram", "summary")),
                ("gauge_sum", 2.0 * sum(levels)),
                ("gauge_min", min(levels)),
                ("gauge_max", max(levels)),
                ("gauge_mostrecent", max(all_set)[1]),
            ):
                same(_merged(found, kind), expected, f"what is kept of {number}, of kind {kind}")
            sizes.append(sum(len(snapshot.keys) for snapshot in found))
        assert sizes[-1] <= 2 * sizes[2], f"values that are kept after each instance: {sizes}"

    @staticmethod
    def _live(one: Host, process: str, level: float, stamp: float) -> None:
        one.count("x", process=process)
        for kind in ("histogram", "summary"):
            one.page(kind, process).set(key("h", "h_sum", {}, "Help."), 1.0)
        for mode in ("sum", "min", "max", "mostrecent"):
            one.gauge("g", level, mode, stamp=stamp, process=process)

    @rule("Storage.collect")
    def test_no_counter_falls_by_its_last_digit(self, place: Place, host: Hosts) -> None:
        """No counter falls while instances are retired, not by its last digit either: what is kept
        is added up exactly."""
        if not self._retires(place):
            return
        observer = host("observer")
        hosts = [host(f"fraction{number}") for number in range(6)]
        for number, each in enumerate(hosts):
            for path in range(20):
                each.count("x", 0.1 * (number + 1) / (path + 3), path=f"/{path}")
            each.publish()
        expected = observer.totals()
        for number, each in enumerate(hosts, 1):
            each.retire("")
            same(observer.totals(), expected, f"counts when {number} have been retired")

    @rule("Storage.collect")
    def test_while_hosts_come_and_go_nothing_is_missing_or_there_twice(
        self, place: Place, host: Hosts
    ) -> None:
        """No counter is there twice or missing while an instance is retired."""
        if not self._retires(place):
            return
        observer, living = host("observer"), host("living")
        living.count("x", 5)
        living.count("y", 5)
        living.publish()
        seen = 0.0
        for turn in range(1, 4):
            ending = [host(f"ending{turn}{number}") for number in range(3)]
            for each in ending:
                each.count("x", 5)
                each.count("y", 5)
                each.publish()
            total = 5.0 + turn * 15.0
            with ThreadPoolExecutor(len(ending)) as pool:
                ends = [pool.submit(each.retire, "") for each in ending]
                while not all(end.done() for end in ends):
                    seen = look(observer, seen)
                    same(seen, total, "what all have counted, while some are retired")
                for end in ends:
                    end.result()
            same(observer.totals()["x"], total, "what all have counted")

    @rule("Storage.retire")
    def test_what_a_retired_instance_has_said_is_gone(self, place: Place, host: Hosts) -> None:
        """Of a retired instance no remark is left."""
        if not self._retires(place):
            return
        a, b = host("a"), host("b")
        a.count("x")
        for kind in REMARK_KINDS:
            a.remark(kind, X, Remark({"a": "b"}, 1.0, 1000.0))
        a.publish()
        b.retire(a.instance)
        same(remarks(b.collect()), {}, "what was said")

    @rule("Storage.retire")
    def test_what_a_retired_instance_has_removed_stays_so(self, place: Place, host: Hosts) -> None:
        """What a retired instance had removed stays in the sum, so that no counter falls, and a
        backend with the capability REMOVALS doesn't let it come back as a series."""
        can = place.backend().capabilities
        if not {RETIRES, REMOVALS} <= can:
            return
        a, b, c = host("a"), host("b"), host("c")
        record(a, X, Y, G, H)
        a.page("counter").remove(X, 2000.0)
        a.page("gauge_max").remove(G, 2000.0)
        for each in (a, c):
            record(each, Y)
            each.publish()
        for ending in (a, c):
            b.retire(ending.instance)
            same(samples(b.collect()), {"y_total", "h"}, "what is left")
        d = host("d")
        d.page("counter").set(X, 1.0)
        d.publish()
        found = b.collect()
        same("x_total" in samples(found), True, "whether it has come again")
        same(totals(found), {"x /größe": 4.0, "y /größe": 6.0}, "what was counted")

    @rule("EXPIRES")
    def test_a_silent_instance_is_dead_if_it_says_so(self, place: Place, host: Hosts) -> None:
        """A backend with the capability EXPIRES retires an instance that has published nothing for
        long, by itself, and one that comes back counts once. One without leaves it alone."""
        environ = dict(place.short_lived)
        a, b = host("a", **environ), host("b", **environ)
        a.count("x", 3)
        a.gauge("level", 5, "livesum")
        a.publish()
        b.publish()
        if EXPIRES not in place.backend().capabilities:
            before = cells(b.collect())
            for _ in range(20):
                b.publish()
            same(cells(b.collect()), before, "what is seen of a silent instance")
            return

        def is_dead() -> bool:
            b.publish()
            return not b.gauges()

        until(is_dead, lambda: f"its live gauges are still there: {b.gauges()}")
        same(b.totals(), {"x": 3.0}, "the counts of a dead instance")
        a.count("x")
        a.publish()
        same(b.totals(), {"x": 4.0}, "when it has come back")

    @staticmethod
    def _retires(place: Place) -> bool:
        """What can't retire is tested by ``test_one_that_cannot_retire_says_so``."""
        return RETIRES in place.backend().capabilities


def _sums(snapshots: list[Snapshot], kind: str) -> float:
    return math.fsum(one.values[at] for one in snapshots if one.kind == kind for at in one.at)


def _merged(snapshots: list[Snapshot], kind: str) -> float:
    """What a scrape makes of all values of a kind."""
    found: list[tuple[float, float]] = [
        (one.values[at + 1] if kind.startswith("gauge") else 0.0, one.values[at])
        for one in snapshots
        if one.kind == kind
        for at in one.at
    ]
    values = [value for _, value in found]
    if kind == "gauge_mostrecent":
        return max(found)[1]
    if kind == "gauge_min":
        return min(values)
    return max(values) if kind == "gauge_max" else math.fsum(values)


def _extreme(snapshots: list[Snapshot], kind: str, pick: Callable[[list[float]], float]) -> float:
    return pick([one.values[at] for one in snapshots if one.kind == kind for at in one.at])
