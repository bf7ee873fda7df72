"""What tests look at, and how long they wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import StorageUnavailable
from .hosts import DEADLINE_SECONDS, Host

Hosts = Callable[..., Host]

MODES = tuple(
    f"{live}{mode}" for live in ("", "live") for mode in ("all", "min", "max", "sum", "mostrecent")
)


def same(seen: object, expected: object, what: str) -> None:
    """Raise AssertionError unless they are equal."""
    assert seen == expected, f"{what}: expected {expected!r}, and there is {seen!r}"


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for a condition; AssertionError with what was seen last when it doesn't come."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def look(observer: Host, before: float) -> float:
    """How far the hosts of :mod:`~.publisher` have counted, as others see it.

    A place that all are busy with may be unavailable for a moment, and is asked again.
    """
    found: dict[str, float] = {}

    def answers() -> bool:
        try:
            found.update(observer.totals())
        except StorageUnavailable:
            return False
        return True

    until(answers, lambda: "the place is never available while hosts publish")
    x, y = found.get("x", 0.0), found.get("y", 0.0)
    assert x == y, f"two numbers that were published together are {x} and {y}"
    assert x >= before, f"a counter fell from {before} to {x}"
    return x
