"""What all other instances have published, as it was seen last.

A view is read in one transaction: the index, the archive's version, and what
is asked for of the instances that were known before. When that turns out not
to be all, because an instance is new, say, it is asked again with what was
missing. A view only takes the place of the one before as a whole, so a scrape
finds an instance's counts in the instance or in the archive, and never in
both or neither.

What a server has lost (wiped, failed over to a replica that lagged behind,
evicted) stays in the view as it was: counters don't go down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.storage import Snapshot

from . import archive, encoding, remarks
from .archive import Archive
from .connection import Redis
from .encoding import Damaged, State
from .incoming import Incoming
from .names import ARCHIVE, Names
from .remarks import Remarks

_ATTEMPTS = 5

#: What there is of an instance: its data, and the fields of its remarks.
_Answer = tuple[encoding.Stored | None, dict[bytes, bytes]]


@dataclass
class Other:
    """Another instance: what it has published, and when, by its own clock."""

    score: float
    incoming: Incoming
    remarks: Remarks


class View:
    """The other instances and the archive. Used by one thread at a time."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.others: dict[str, Other] = {}
        #: Archives by lineage: there is more than one while two have to be brought together.
        self.archives: dict[str, Archive] = {}
        #: Instances that the server has lost.
        self.lost: set[str] = set()
        self._damaged: set[str] = set()

    def read(self, redis: Redis, me: str) -> bool:
        """Look at everything anew; False when the instance ``me`` has been added to the archive.

        Raises what redis-py raises, and StorageUnavailable; the view is then as it was before.
        """
        wanted = dict.fromkeys(self.others, False)
        with_archive = False
        for _ in range(_ATTEMPTS):
            reading = _Reading(self._names, me, self, wanted, with_archive=with_archive)
            reading.run(redis)
            if reading.me_folded:
                return False
            if reading.is_complete():
                self.others, self.lost = reading.others, reading.lost
                self.archives = reading.archives
                self._complain(reading.damaged)
                return True
            wanted, with_archive = reading.wanted, reading.with_archive
        raise StorageUnavailable("what is published changes faster than it can be read")

    def snapshots(self) -> list[Snapshot]:
        """Everything that is not of this instance."""
        found: list[Snapshot] = []
        for one in self.archives.values():
            found += one.snapshots
        for name, other in self.others.items():
            found += other.incoming.snapshots(name)
            found += remarks.snapshots(other.remarks, name)
        return found

    def remember(self, seen: Archive) -> None:
        """Take note of an archive that was read otherwise, if it is newer."""
        known = self.archives.get(seen.lineage)
        if seen.lineage and (known is None or known.number < seen.number):
            self.archives[seen.lineage] = seen

    def _complain(self, damaged: dict[str, str]) -> None:
        for name in damaged.keys() - self._damaged:
            log.error(
                "what %s has published can't be read, its former values are used: %s",
                name,
                damaged[name],
            )
        self._damaged = set(damaged)


class _Reading:
    """One transaction and what came of it."""

    def __init__(
        self, names: Names, me: str, before: View, wanted: dict[str, bool], *, with_archive: bool
    ) -> None:
        self._names, self._me, self._before = names, me, before
        #: What is asked for: instances, and whether from the start of their log on.
        self._asked, self._asked_archive = dict(wanted), with_archive
        self.wanted, self.with_archive = dict(wanted), with_archive
        self.others: dict[str, Other] = {}
        self.archives: dict[str, Archive] = {}
        self.lost: set[str] = set()
        self.damaged: dict[str, str] = {}
        self.me_folded = False

    def is_complete(self) -> bool:
        return self.wanted == self._asked and self.with_archive == self._asked_archive

    def run(self, redis: Redis) -> None:
        names = self._names
        asked = list(self._asked)
        known = [self._me, *self._before.archives]
        with redis.pipeline(transaction=True) as pipe:
            pipe.zrange(names.instances, 0, -1, withscores=True)
            pipe.get(names.version)
            pipe.zmscore(names.folded, known)
            for name in asked:
                values, keys, state = names.data(name)
                pipe.hgetall(values)
                pipe.getrange(keys, 0 if self._asked[name] else len(self._log(name)), -1)
                pipe.get(state)
                pipe.hgetall(names.remarks(name))
            if self._asked_archive:
                archive.ask(pipe, names.data(ARCHIVE))
                pipe.zrange(names.folded, 0, -1, withscores=True)
            replies = pipe.execute()
        index = encoding.scores(replies.pop(0))
        version = replies.pop(0)
        scores = dict(zip(known, replies.pop(0), strict=True))
        folded = {name for name, when in scores.items() if when is not None}
        stored = {name: (archive.answer(replies), replies.pop(0)) for name in asked}
        self.me_folded = self._me in folded and self._me not in index
        self._take_archive(version, folded, replies)
        self._take_others(index, stored)

    def _log(self, name: str) -> bytes:
        """What was read of an instance's log so far."""
        return self._before.others[name].incoming.log

    def _take_archive(self, version: bytes | None, folded: set[str], replies: list[Any]) -> None:
        lineage, number = archive.parse_version(version)
        mine = self._before.archives
        self.archives = {
            name: one for name, one in mine.items() if name not in folded or name == lineage
        }
        known = mine.get(lineage)
        if not lineage or (known is not None and known.number >= number):
            # Nothing new; or the server has lost something that we still have.
            self.with_archive = self._asked_archive
        elif self._asked_archive:
            stored = archive.answer(replies) or encoding.Stored({}, b"", b"")
            try:
                self.archives[lineage] = archive.parse(version, stored, replies.pop(0))
            except Damaged as error:
                self.damaged[ARCHIVE] = str(error)
        else:
            self.with_archive = True

    def _take_others(self, index: dict[str, float], stored: dict[str, _Answer]) -> None:
        before = self._before.others
        # Whose counts are in an archive that we have; the server may list them all the same if it
        # has fallen back to an older state.
        folded = {name for one in self.archives.values() for name in one.folded}
        for name, score in index.items():
            if name == self._me or name in folded:
                continue
            old = before.get(name)
            if name not in stored:
                self.wanted[name] = True
            elif old is not None and old.score > score:
                self.others[name] = old  # the server has an older state than we
            else:
                self._take(name, score, old, *stored[name])
        for name, old in before.items():
            if name not in index and name not in folded:
                self.others[name] = old
                self.lost.add(name)
        for name in self.wanted.keys() - index.keys() - before.keys():
            del self.wanted[name]

    def _take(
        self,
        name: str,
        score: float,
        old: Other | None,
        stored: encoding.Stored | None,
        fields: dict[bytes, bytes],
    ) -> None:
        anew = self._asked[name] or old is None
        incoming = Incoming() if old is None or anew else old.incoming
        try:
            if stored is None:
                raise Damaged("nothing is there")
            if incoming.is_continued_by(State.parse(stored.state)):
                incoming.take(stored.chunks, stored.log, stored.state)
                self.others[name] = Other(score, incoming, remarks.read(fields))
            else:
                self.wanted[name] = True
        except Damaged as error:
            self.damaged[name] = str(error)
            if old is not None:
                self.others[name] = old
