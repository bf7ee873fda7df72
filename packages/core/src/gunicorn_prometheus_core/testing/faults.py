"""A place that is away, silent, empty or damaged."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ..errors import StorageUnavailable
from .hosts import Host
from .place import Place
from .rules import rule
from .seeing import Hosts, same, until
from .suite import ValueTests


class FaultTests(ValueTests):
    """Tests of what a place may do to a backend."""

    shared = True

    @rule("StorageUnavailable (errors) and Storage")
    def test_while_it_is_away_that_is_said_and_then_it_goes_on(
        self, place: Place, host: Hosts
    ) -> None:
        """Trouble with the place is StorageUnavailable, raised ``from`` the cause, with a message
        without secrets; the same storage works again once the place does, and what was counted
        meanwhile is not lost."""
        a, b, late = host("a"), host("b"), host("late")
        a.count("x", 3)
        a.publish()
        same(b.totals(), {"x": 3.0}, "before")
        place.stop()
        a.count("x")
        for each in (a, late):
            self._is_unavailable(each, each.publish)
        for each in (b, late):
            self._is_unavailable(each, each.collect)
        place.start()
        late.count("x", 10)
        self._works_again(a, late)
        until(lambda: b.totals() == {"x": 14.0}, lambda: f"others see {b.totals()}, not 14")

    @rule("Storage")
    def test_a_place_that_does_not_answer_is_not_waited_for_long(
        self, place: Place, host: Hosts
    ) -> None:
        """A method waits for each answer of the place at most ``settings.storage_timeout_seconds``,
        and says then that it is unavailable."""
        patience = 0.3
        environ = {"GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS": str(patience)}
        a, b = host("a", **environ), host("b", **environ)
        a.count("x", 3)
        a.publish()
        b.collect()
        place.pause()
        try:
            a.count("x")
            start = time.monotonic()
            self._is_unavailable(a, a.publish)
            took = time.monotonic() - start
        finally:
            place.resume()
        most = 10 * patience + 2
        assert took < most, f"it took {took:.1f} s, with {patience} s for each answer"
        self._works_again(a, b)
        until(lambda: b.totals() == {"x": 4.0}, lambda: f"others see {b.totals()}, not 4")

    @staticmethod
    def _is_unavailable(host: Host, call: Callable[[], object]) -> None:
        raised = None
        try:
            call()
        except StorageUnavailable as error:
            raised = error
        assert raised is not None, "the place is away, and nothing was raised"
        assert raised.__cause__ is not None, "StorageUnavailable is not raised from its cause"
        settings = host.settings
        for name, declared in settings.declarations().items():
            secret = str(settings.value(name) or "") if declared.secret else ""
            told = secret != "" and secret in str(raised)
            assert not told, f"the message of StorageUnavailable tells {declared.variable}"

    @staticmethod
    def _works_again(*hosts: Host) -> None:
        said = ["nothing"]

        def published(each: Host) -> bool:
            try:
                each.publish()
            except StorageUnavailable as error:
                said.append(str(error))
                return False
            return True

        for each in hosts:
            until(
                partial(published, each),
                lambda: f"the place is back, and publish raises {said[-1]}",
            )

    @rule("Storage.publish")
    def test_what_a_wiped_place_has_lost_is_published_again(
        self, place: Place, host: Hosts
    ) -> None:
        """A publish makes all values visible, whatever became of those before: after a restart
        with nothing the next one mends everything."""
        a, b = host("a"), host("b")
        for each in (a, b):
            each.count("x", 3)
            each.count("x", 1, process="worker-1")
            each.publish()
        a.collect()
        place.wipe()
        for _ in range(2):
            for each in (a, b):
                each.publish()
        same((a.totals(), b.totals()), ({"x": 4.0}, {"x": 4.0}), "after a wipe")
        a.count("x")
        a.publish()
        same(b.totals(), {"x": 5.0}, "what was counted after it")

    @rule("Storage.collect")
    def test_what_is_damaged_is_never_taken_for_values(self, place: Place, host: Hosts) -> None:
        """What is stored and means nothing any more is StorageUnavailable or left out, until it is
        published anew. It is never taken for other values, and mends itself."""
        a, b = host("a"), host("b")
        for each in (a, b):
            for number in range(50):
                each.count("x", number, path=f"/{number}")
            each.publish()
        right = b.totals()
        place.damage()
        try:
            found = b.totals()
        except StorageUnavailable:
            found = {}
        wrong = {name: value for name, value in found.items() if right.get(name) != value}
        assert not wrong, f"values that were never published: {wrong}"

        def mended() -> bool:
            for each in (a, b):
                each.count("y")
                try:
                    each.publish()
                except StorageUnavailable:
                    return False
            try:
                seen = b.totals()
            except StorageUnavailable:
                return False
            return {name: seen.get(name) for name in right} == right

        until(mended, lambda: "publishing anew does not mend it")
