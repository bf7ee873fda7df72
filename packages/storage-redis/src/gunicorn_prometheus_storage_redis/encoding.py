"""What is stored of one instance: a log of keys, doubles in chunks, and its state.

The log says which doubles belong to what. It is a row of frames, each a length
(4 bytes, big-endian) and compressed JSON: ``[[process, kind, stride, fresh,
[key, ...]], ...]``. The keys of an entry take the next ``stride`` doubles
each; the second one of a pair is the time a gauge was set, or what the first
one lacks to the exact sum. ``fresh`` says that what came before of this process
and kind is no longer so. Doubles are little-endian.

The state is JSON: ``log`` (a new one means that all is new), ``length`` (of the
log in bytes), ``size`` (number of doubles) and ``processes``.
"""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gunicorn_prometheus_core.storage import Process, Snapshot

#: Doubles in a chunk.
CHUNK = 512
_LENGTH = struct.Struct(">I")


class Damaged(Exception):
    """Stored data that does not fit together. The message says what is wrong."""


class Entry(NamedTuple):
    """One entry of the log."""

    process: str
    kind: str
    stride: int
    fresh: bool
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Stored:
    """The three keys of an instance, as they are in Redis."""

    chunks: Mapping[int, bytes]
    log: bytes
    state: bytes


def new_log() -> str:
    """A name for a log that is begun."""
    return uuid.uuid4().hex[:12]


def stride_of(snapshot: Snapshot) -> int:
    """Doubles per key that a living instance publishes.

    Gauges come with a time, and so do counts once a series of theirs was removed.
    """
    return 2 if snapshot.kind.startswith("gauge") or snapshot.removed else 1


def frame(entries: Iterable[Entry]) -> bytes:
    """Entries as they are added to the log."""
    rows = [
        (process, kind, stride, fresh, [key.decode("utf-8", "surrogateescape") for key in keys])
        for process, kind, stride, fresh, keys in entries
    ]
    if not rows:
        return b""
    packed = zlib.compress(json.dumps(rows, separators=(",", ":")).encode())
    return _LENGTH.pack(len(packed)) + packed


def entries(log: bytes) -> Iterator[Entry]:
    """The entries of a log, or of the end of one. Raises Damaged."""
    start = 0
    try:
        while start < len(log):
            (size,) = _LENGTH.unpack_from(log, start)
            start += _LENGTH.size + size
            if start > len(log):
                raise Damaged("the log of keys ends within a frame")
            for process, kind, stride, fresh, keys in json.loads(
                zlib.decompress(log[start - size : start])
            ):
                encoded = [key.encode("utf-8", "surrogateescape") for key in keys]
                yield Entry(process, kind, int(stride), bool(fresh), encoded)
    except (struct.error, zlib.error, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"the log of keys can't be read: {error}") from error


def state(log: str, length: int, size: int, processes: Iterable[Process]) -> bytes:
    """The state of an instance. Pids are left out: they mean nothing on another host."""
    rows = {
        process.name: (
            process.role,
            process.number,
            process.alive,
            process.started,
            process.ended,
        )
        for process in processes
    }
    facts = {"log": log, "length": length, "size": size, "processes": rows}
    return json.dumps(facts, separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True)
class State:
    """The state of an instance, understood."""

    log: str
    length: int
    size: int
    processes: Mapping[str, Process]

    @classmethod
    def parse(cls, text: bytes) -> State:
        """Raises Damaged."""
        try:
            facts: dict[str, Any] = json.loads(text)
            processes = {
                name: Process(name, role, number, alive, None, started, ended)
                for name, (role, number, alive, started, ended) in facts["processes"].items()
            }
            return cls(str(facts["log"]), int(facts["length"]), int(facts["size"]), processes)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise Damaged(f"the state can't be read: {error!r}") from error


def chunks(doubles: bytes) -> dict[int, bytes]:
    """Doubles cut into chunks."""
    size = 8 * CHUNK
    return {
        number: doubles[start : start + size]
        for number, start in enumerate(range(0, len(doubles), size))
    }


def joined(stored: Mapping[int, bytes], size: int) -> bytes:
    """The doubles of all chunks. Raises Damaged."""
    try:
        doubles = b"".join([stored[number] for number in range(-(-size // CHUNK))])
    except KeyError as error:
        raise Damaged(f"chunk {error} is missing") from None
    if len(doubles) != 8 * size:
        raise Damaged(f"there are {len(doubles)} bytes for {size} doubles")
    return doubles


def scores(listed: Iterable[tuple[bytes, float]]) -> dict[str, float]:
    """A sorted set. What is no UTF-8 is no name of ours, and nothing is found under another one."""
    return {name.decode("utf-8", "replace"): score for name, score in listed}
