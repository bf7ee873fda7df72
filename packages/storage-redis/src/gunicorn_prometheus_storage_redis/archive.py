"""The archive in Redis: the counts of instances that are gone, and who they were.

It has a version: a lineage, begun when there was no archive, and a number
that rises with each change. Exporters remember the archive that they saw last
and bring it back to a server that has lost it. If another lineage has been
begun there meanwhile, theirs is added to that one, once.

The functions change Redis in one step each, or not at all (WATCH, MULTI), so
they can be repeated by anybody at any time.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import WatchError

from gunicorn_prometheus_core.storage import Process, Snapshot

from . import counts, encoding
from .connection import Redis
from .counts import Counts
from .incoming import Incoming, read
from .names import ARCHIVE, Names

#: How many names of former instances are kept, and for how long what they left is.
REMEMBERED = 10_000
REMAINS_SECONDS = 86_400
#: Nobody has touched the data for so long: everybody is gone.
LIFETIME_SECONDS = 7 * 86_400


@dataclass
class Archive:
    """An archive as it was seen."""

    lineage: str = ""
    number: int = 0
    counts: Counts = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    #: What has been added, instances and lineages, and when.
    folded: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.snapshots: list[Snapshot] = counts.snapshots(
            self.counts, self.processes, f"{ARCHIVE}-{self.lineage}"
        )
        #: What was added last; "" where that isn't known.
        self.newest: str = max(self.folded, key=self.folded.__getitem__, default="")

    @property
    def version(self) -> str:
        """The version as it is stored; "" when there is no archive."""
        return f"{self.lineage}:{self.number}" if self.lineage else ""

    def with_more(
        self, name: str, more: Counts, processes: Mapping[str, Process], now: float
    ) -> Archive:
        """This archive with the counts of what goes by that name added."""
        total = {page: dict(cells) for page, cells in self.counts.items()}
        counts.add_counts(total, more)
        known = {
            **{
                process.name: Process(process.name, process.role, process.number, alive=False)
                for process in processes.values()
            },
            **self.processes,
        }
        lineage = self.lineage or uuid.uuid4().hex[:8]
        folded = {**self.folded, name: now}
        return Archive(lineage, self.number + 1, total, known, folded)


def parse_version(text: bytes | None) -> tuple[str, int]:
    """Lineage and number; "" and 0 for none."""
    lineage, _, number = (text or b"").decode("latin-1").partition(":")
    return (lineage, int(number)) if number.isdecimal() else ("", 0)


def parse(
    version: bytes | None, stored: encoding.Stored, folded: Iterable[tuple[bytes, float]]
) -> Archive:
    """The archive that these replies are about. Raises Damaged."""
    lineage, number = parse_version(version)
    if not lineage:
        return Archive()
    incoming = read(stored)
    names = {name for name, _ in incoming.pages}
    processes = {name: incoming.process(name) for name in names}
    return Archive(lineage, number, counts.of_archive(incoming), processes, encoding.scores(folded))


def ask(pipe: Any, data: tuple[str, str, str]) -> None:
    """Ask for all three keys of an instance or an archive."""
    values, keys, state = data
    pipe.hgetall(values)
    pipe.get(keys)
    pipe.get(state)


def answer(replies: list[Any]) -> encoding.Stored | None:
    """What ``ask`` asked for, taken from the front of the replies; None if there is nothing."""
    values, log, state = (replies.pop(0) for _ in range(3))
    if state is None:
        return None
    chunks = {int(number): chunk for number, chunk in values.items() if number.isdigit()}
    return encoding.Stored(chunks, log or b"", state)


def _read(pipe: Any, names: Names) -> Archive:
    version = pipe.get(names.version)
    values, keys, state = names.data(ARCHIVE)
    replies = [pipe.hgetall(values), pipe.get(keys), pipe.get(state)]
    folded = pipe.zrange(names.folded, 0, -1, withscores=True)
    return parse(version, answer(replies) or encoding.Stored({}, b"", b""), folded)


def fetch(redis: Redis, names: Names) -> Archive:
    """The archive as it is. Raises Damaged."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.get(names.version)
        ask(pipe, names.data(ARCHIVE))
        pipe.zrange(names.folded, 0, -1, withscores=True)
        version, *replies = pipe.execute()
    return parse(version, answer(replies) or encoding.Stored({}, b"", b""), replies.pop(0))


def _write(pipe: Any, names: Names, archive: Archive, *, lasting: bool) -> None:
    stored = counts.stored(archive.counts, archive.processes.values())
    data = names.data(ARCHIVE)
    write(pipe, data, stored)
    pipe.set(names.version, archive.version)
    if not lasting:
        for key in (*data, names.version):
            pipe.expire(key, LIFETIME_SECONDS)
    _write_ledger(pipe, names, archive, lasting=lasting)


def _write_ledger(pipe: Any, names: Names, archive: Archive, *, lasting: bool) -> None:
    pipe.zadd(names.folded, archive.folded)
    pipe.zremrangebyrank(names.folded, 0, -REMEMBERED - 1)
    if not lasting:
        pipe.expire(names.folded, LIFETIME_SECONDS)


def write(pipe: Any, data: tuple[str, str, str], stored: encoding.Stored) -> None:
    """Put this in place of what is stored there."""
    values, keys, state = data
    pipe.delete(*data)
    if stored.chunks:
        pipe.hset(values, mapping=dict(stored.chunks))
    pipe.set(keys, stored.log)
    pipe.set(state, stored.state)


def fold(
    redis: Redis,
    names: Names,
    instance: str,
    remembered: Incoming | None,
    *,
    lasting: bool,
    remains_seconds: float = REMAINS_SECONDS,
) -> Counts | None:
    """Add the counts of an instance to the archive and take it out of the index.

    Gives what was added; None when somebody else has done something with it meanwhile.
    ``remembered`` is what to add if the server has lost the data; None to leave it alone then.
    """
    data = names.data(instance)
    with redis.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(names.version, *data)
            if pipe.zscore(names.instances, instance) is None:
                return None
            archive = _read(pipe, names)
            incoming = _data(pipe, data) or remembered
            if incoming is None:
                return None
            added = counts.of_instance(incoming)
            processes = {name: incoming.process(name) for name, _ in incoming.pages}
            archive = archive.with_more(instance, added, processes, time.time())
            pipe.multi()
            _write(pipe, names, archive, lasting=lasting)
            pipe.zrem(names.instances, instance)
            pipe.delete(*data, names.remarks(instance))
            # What was added, for the case that it comes back: the data itself may be damaged.
            write(pipe, names.remains(instance), counts.stored(added, ()))
            for key in names.remains(instance):
                pipe.expire(key, max(1, int(remains_seconds)))
            pipe.execute()
        except WatchError:
            return None
    return added


def _data(pipe: Any, data: tuple[str, str, str]) -> Incoming | None:
    values, keys, state = data
    stored = answer([pipe.hgetall(values), pipe.get(keys), pipe.get(state)])
    try:
        return read(stored) if stored is not None else None
    except encoding.Damaged:
        return None


def bring_back(redis: Redis, names: Names, mine: Archive, *, lasting: bool) -> bool:
    """See to it that the server's archive has everything that this one has.

    False when it isn't known, because somebody else has done something with it meanwhile.
    """
    with redis.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(names.version)
            theirs = _read(pipe, names)
            if theirs.lineage in ("", mine.lineage):
                if theirs.number >= mine.number:
                    return True
                result = mine
            else:
                if mine.lineage in theirs.folded:
                    return True
                result = theirs.with_more(mine.lineage, mine.counts, mine.processes, time.time())
                result.folded = {**mine.folded, **result.folded}
            pipe.multi()
            _write(pipe, names, result, lasting=lasting)
            pipe.zrem(names.instances, *result.folded)
            pipe.execute()
        except WatchError:
            return False
    return True


def bring_back_ledger(redis: Redis, names: Names, mine: Archive, *, lasting: bool) -> None:
    """Give a server back what it knew to be in its archive, if that is the one that we know.

    Else an instance that comes back would not know that it is in there, and count twice.
    """
    with redis.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(names.version)
            if pipe.get(names.version) != mine.version.encode():
                return
            pipe.multi()
            _write_ledger(pipe, names, mine, lasting=lasting)
            pipe.zrem(names.instances, *mine.folded)
            pipe.execute()
        except WatchError:
            return


def bring_back_instance(
    redis: Redis, names: Names, instance: str, stored: encoding.Stored, score: float
) -> None:
    """Give a server back what it has lost of another instance, unless that has come by itself."""
    data = names.data(instance)
    with redis.pipeline(transaction=True) as pipe:
        try:
            pipe.watch(*data)
            if (
                pipe.zscore(names.instances, instance) is not None
                or pipe.zscore(names.folded, instance) is not None
            ):
                return
            pipe.multi()
            write(pipe, data, stored)
            for key in data:
                pipe.expire(key, LIFETIME_SECONDS)
            pipe.zadd(names.instances, {instance: score}, nx=True)
            pipe.execute()
        except WatchError:
            return
