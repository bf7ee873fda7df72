"""What this instance has to publish: snapshots brought into the stored form, and what changed.

A key keeps its place among the doubles for as long as its process and kind
have it, however the pages it comes from are rearranged. Places are not used
again; when too many are wasted, everything is begun anew.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn_prometheus_core.gathering import exact_sum, gather
from gunicorn_prometheus_core.storage import REMARK_KINDS, SUMMED_KINDS, Process, Snapshot

from . import encoding
from .counts import ADDED, Counts
from .encoding import Entry
from .remarks import Change, OutgoingRemarks

_WASTE = 4096


@dataclass(frozen=True)
class Update:
    """What to store. ``full``: in place of everything that is there; else beside it."""

    full: bool
    log_offset: int
    log: bytes
    chunks: Mapping[int, bytes]
    #: None when it is what was stored last.
    state: bytes | None
    remarks: Change
    #: What will be stored when this has been.
    stored: encoding.Stored


class _Page:
    """The keys of one process and kind, and where their values come from and go to."""

    def __init__(
        self, stride: int, base: Mapping[bytes, tuple[float, float]], *, falls: bool
    ) -> None:
        self.stride = stride
        self.base = base
        self._falls = falls
        self.keys: list[bytes] = []
        self.source: tuple[object, object] | None = None
        self.seen = 0
        self._positions: list[int] = []
        #: First place and number of keys of each run of keys that lie behind one another.
        self._runs: list[tuple[int, int]] = []
        self._gathers: list[tuple[Any, int, int, list[tuple[float, float]] | None]] | None = None

    def look(self, snapshot: Snapshot) -> Sequence[bytes] | None:
        """Keys that are new since the last look; None when what was there can't stay so."""
        if self.stride != encoding.stride_of(snapshot):
            return None
        keys, at = snapshot.keys, snapshot.at
        # Both may be growing, and what has grown may lie behind what ``values`` shows.
        known = min(len(keys), bisect_right(at, len(snapshot.values) - self.stride))
        if self.source is not None and self.source[0] is keys and self.source[1] is at:
            new = list(keys[self.seen : known])
            self._positions += at[self.seen : known]
        else:
            place = dict(zip(keys[:known], at[:known], strict=True))
            if not place.keys() >= set(self.keys):
                return None
            own = set(self.keys)
            new = [key for key in place if key not in own]
            self._positions = [place[key] for key in (*self.keys, *new)]
            self._gathers = None
        self.source, self.seen = (keys, at), known
        return new

    def append(self, keys: Sequence[bytes], first: int) -> None:
        """These new keys have the places from ``first`` on."""
        self.keys += keys
        self._runs.append((first, len(keys)))
        self._gathers = None

    def copy(self, values: Any, doubles: array[float]) -> None:
        """Put the values into their places."""
        if self._gathers is None:
            self._gathers = list(self._prepare())
        for pick, first, size, base in self._gathers:
            picked = pick(values)
            if base is not None:
                picked = [
                    exact_sum((value, -much, -little))
                    for value, (much, little) in zip(picked, base, strict=True)
                ]
                if not self._falls:
                    # Rounding may have left less than nothing, and counters must not fall.
                    counts = slice(0, None, self.stride)
                    picked[counts] = [max(0.0, value) for value in picked[counts]]
            doubles[first : first + size] = array("d", picked)

    def _prepare(self) -> Iterable[tuple[Any, int, int, list[tuple[float, float]] | None]]:
        start = 0
        for first, count in self._runs:
            positions = self._positions[start : start + count]
            base = None
            if self.base:
                nothing = (0.0, 0.0)
                base = [self.base.get(key, nothing) for key in self.keys[start : start + count]]
            if self.stride == 2:
                positions = [at + i for at in positions for i in (0, 1)]
                base = base and [pair for much in base for pair in (much, (0.0, 0.0))]
            yield gather(positions), first, len(positions), base
            start += count


@dataclass
class Outgoing:
    """The stored form of this instance's snapshots. ``base`` is what the archive has of them."""

    base: Counts = field(default_factory=dict)

    def __post_init__(self) -> None:
        #: What was stored last, also when it isn't known any more whether it still is.
        self.last: encoding.Stored | None = None
        self._begin()

    def _begin(self) -> None:
        self._pages: dict[tuple[str, str], _Page] = {}
        self._doubles: array[float] = array("d")
        self._log = b""
        self._log_name = encoding.new_log()
        self._wasted = 0
        #: What is known to be stored; None when that isn't known.
        self.stored: encoding.Stored | None = None
        self.remarks = OutgoingRemarks()

    def forget(self) -> None:
        """What is stored is not known any more: the next update is a full one."""
        self._begin()

    def is_stored(self, update: Update) -> None:
        """The server has this update."""
        self.stored = self.last = update.stored
        self.remarks.stored = update.remarks.stored

    def update(self, snapshots: Iterable[Snapshot]) -> Update:
        """What there is to store, given all snapshots as they are now."""
        everything = list(snapshots)
        snapshots = [one for one in everything if one.kind not in REMARK_KINDS]
        added = self._arrange(snapshots)
        if self._wasted > max(_WASTE, len(self._doubles) // 2):
            self._begin()
            added = self._arrange(snapshots)
        frame = encoding.frame(added)
        # In the order in which a merge would read them.
        for snapshot in sorted(snapshots, key=lambda one: one.kind, reverse=True):
            self._pages[snapshot.process.name, snapshot.kind].copy(snapshot.values, self._doubles)
        offset = len(self._log)
        self._log += frame
        processes = {snapshot.process.name: snapshot.process for snapshot in snapshots}
        remarks = self.remarks.change(everything, full=self.stored is None)
        return self._compare(offset, processes.values(), remarks)

    def _compare(self, offset: int, processes: Iterable[Process], remarks: Change) -> Update:
        before = self.stored
        size = len(self._doubles)
        state = encoding.state(self._log_name, len(self._log), size, processes)
        chunks = encoding.chunks(self._doubles.tobytes())
        stored = encoding.Stored(chunks, self._log, state)
        if before is None:
            return Update(True, 0, self._log, chunks, state, remarks, stored)
        changed = {n: chunk for n, chunk in chunks.items() if before.chunks.get(n) != chunk}
        # After a failure there can be more to add than this time's frame.
        offset = min(offset, len(before.log))
        new_state = None if state == before.state else state
        return Update(False, offset, self._log[offset:], changed, new_state, remarks, stored)

    def _arrange(self, snapshots: Sequence[Snapshot]) -> list[Entry]:
        """Give every key its place; the entries for the log."""
        added: list[Entry] = []
        present = {(snapshot.process.name, snapshot.kind) for snapshot in snapshots}
        for process, kind in self._pages.keys() - present:
            page = self._drop(process, kind)
            added.append(Entry(process, kind, page.stride, True, ()))
        for snapshot in snapshots:
            process, kind = snapshot.process.name, snapshot.kind
            page = self._pages.get((process, kind)) or self._make(snapshot)
            new = page.look(snapshot)
            fresh = new is None
            if new is None:
                self._drop(process, kind)
                page = self._make(snapshot)
                new = page.look(snapshot)
                assert new is not None
            if new or fresh:
                page.append(new, len(self._doubles))
                self._doubles.frombytes(bytes(8 * page.stride * len(new)))
                added.append(Entry(process, kind, page.stride, fresh, new))
        return added

    def _make(self, snapshot: Snapshot) -> _Page:
        process, kind = snapshot.process.name, snapshot.kind
        base = self.base.get((process, kind), {}) if kind in ADDED else {}
        stride, falls = encoding.stride_of(snapshot), kind not in SUMMED_KINDS
        page = self._pages[process, kind] = _Page(stride, base, falls=falls)
        return page

    def _drop(self, process: str, kind: str) -> _Page:
        page = self._pages.pop((process, kind))
        self._wasted += page.stride * len(page.keys)
        return page
