"""An instance as others have stored it, brought back into snapshots.

What was understood of the log stays, so that a reader only looks at what was
added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gunicorn_prometheus_core.storage import Process, Snapshot

from . import encoding
from .encoding import Damaged, State


class Incoming:
    """What was read of one instance's data."""

    def __init__(self) -> None:
        self.log = b""
        self.stored = encoding.Stored({}, b"", b"")
        self._log_name = ""
        self._size = 0
        self.pages: dict[tuple[str, str], tuple[list[bytes], list[int], int]] = {}
        self._values: memoryview[Any] = memoryview(b"")
        self._processes: Mapping[str, Process] = {}

    def is_continued_by(self, state: State) -> bool:
        """Whether what that state is about has been added to what was read here."""
        return state.log == self._log_name if self.log else True

    def take(self, chunks: Mapping[int, bytes], tail: bytes, text: bytes) -> None:
        """Take what was read: chunks, the log from ``len(self.log)`` on, and the state.

        Raises Damaged; the object is then as it was before.
        """
        state = State.parse(text)
        log = self.log + tail
        if len(log) != state.length:
            raise Damaged(f"the log of keys has {len(log)} bytes instead of {state.length}")
        doubles = encoding.joined(chunks, state.size)
        added = list(encoding.entries(tail))
        size = self._size + sum(entry.stride * len(entry.keys) for entry in added)
        if size != state.size:
            raise Damaged(f"the keys have {size} doubles, of which {state.size} are there")
        for entry in added:
            self._add(entry)
        self._log_name, self._processes = state.log, state.processes
        self.log = log
        self.stored = encoding.Stored(chunks, log, text)
        self._values = memoryview(doubles).cast("d")

    def _add(self, entry: encoding.Entry) -> None:
        name = entry.process, entry.kind
        if entry.fresh or name not in self.pages:
            self.pages[name] = [], [], entry.stride
        keys, at, _ = self.pages[name]
        end = self._size + entry.stride * len(entry.keys)
        # New lists: a scrape may still be reading the values that belong to the former ones.
        at = [*at, *range(self._size, end, entry.stride)]
        self.pages[name] = [*keys, *entry.keys], at, entry.stride
        self._size = end

    def snapshots(self, instance: str) -> list[Snapshot]:
        """The snapshots, in the name of that instance."""
        return [
            Snapshot(
                *(self.process(name), kind, keys, at, self._values, instance),
                # Their times are published as well, and with them what was removed.
                removed=True if stride == 2 else None,
            )
            for (name, kind), (keys, at, stride) in self.pages.items()
            if keys
        ]

    def process(self, name: str) -> Process:
        """The process of that name."""
        found = self._processes.get(name)
        return found or Process(name, "other", name, alive=False)

    def cells(self) -> Iterator[tuple[str, str, Iterator[tuple[bytes, tuple[float, float]]]]]:
        """Process, kind, and the keys with their pair of doubles (0.0 where there is one only)."""
        values = self._values
        for (process, kind), (keys, at, stride) in self.pages.items():
            seconds = (values[i + 1] for i in at) if stride == 2 else (0.0 for _ in at)
            pairs = zip((values[i] for i in at), seconds, strict=True)
            yield process, kind, zip(keys, pairs, strict=True)


def read(stored: encoding.Stored) -> Incoming:
    """All that is stored of an instance. Raises Damaged."""
    incoming = Incoming()
    incoming.take(stored.chunks, stored.log, stored.state)
    return incoming
