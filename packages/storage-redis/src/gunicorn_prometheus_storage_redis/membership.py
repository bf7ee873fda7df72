"""Who is dead: whose last publish has not changed for a time, as seen from here.

Only changes count and only our own clock, so hosts' clocks may differ. Time in
which we could not look doesn't count: after an outage everybody has the whole
time again to come back.
"""

from __future__ import annotations

from collections.abc import Mapping


class Membership:
    """Watches the index. Used by one thread at a time."""

    def __init__(self, patience: float, longest_gap: float) -> None:
        self._patience = patience
        self._longest_gap = longest_gap
        self._seen: dict[str, tuple[float, float]] = {}
        self._looked = 0.0

    def forget(self) -> None:
        """There was an outage: begin to watch anew."""
        self._seen.clear()

    def look(self, index: Mapping[str, float], now: float) -> None:
        """The index as it is at a time of the monotonic clock, in seconds."""
        if now - self._looked > self._longest_gap:
            self.forget()
        self._looked = now
        self._seen = {
            name: seen if (seen := self._seen.get(name)) and seen[0] == score else (score, now)
            for name, score in index.items()
        }

    def silent(self, name: str) -> float:
        """For how many seconds an instance in the index has been silent."""
        return self._looked - self._seen[name][1]

    def dead(self, me: str, publish_seconds: float) -> list[str]:
        """Instances that have been silent for too long and that are for us to deal with.

        Everybody sees the same, so those who come later in the alphabet leave it to the others
        for a moment. That only saves work: it does no harm when several do it.
        """
        living = sorted(
            name
            for name, (_, since) in self._seen.items()
            if name == me or self._looked - since < self._patience
        )
        rank = min(living.index(me), 5) if me in living else 5
        limit = self._patience + rank * publish_seconds
        return [
            name
            for name, (_, since) in self._seen.items()
            if name != me and self._looked - since >= limit
        ]
