"""What there is to say, said once the recorder's lock is free.

A log handler may count what it logs: it would hold its own lock and wait for ours.
"""

from __future__ import annotations

import contextlib
from _thread import RLock
from collections.abc import Iterator
from typing import Any

from gunicorn_prometheus_core.logs import log


class Complaints:
    """Errors to be logged. Every method but ``held`` wants the lock held."""

    # As for the recorder: what is in a __dict__ is not safe from monkey-patching.
    __slots__ = ("_complained", "_lock", "_unsaid")

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._complained: set[str] = set()
        self._unsaid: list[tuple[Any, ...]] = []

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; what there is to say is logged without it."""
        with self._lock:
            yield
        # Our caller may hold it, too; then the next call that doesn't says it.
        owned = self._lock._is_owned  # type: ignore[attr-defined]  # as threading.Condition asks
        while self._unsaid and not owned():
            log.error(*self._unsaid.pop(0))

    def say(self, message: str, *details: Any) -> None:
        """Log an error as soon as the lock is free."""
        self._unsaid.append((message, *details))

    def once(self, topic: str, message: str, *details: Any) -> None:
        """The same, once per topic."""
        if topic not in self._complained:
            self._complained.add(topic)
            self.say(message, *details)
