"""What a publish does for others: for hosts that are gone, and for what a server has lost of them.

Everybody does it, and nobody has to: each step is done once, whoever is first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings

from . import archive, encoding
from .connection import Redis
from .incoming import Incoming
from .membership import Membership
from .names import Names
from .view import View


@dataclass(frozen=True)
class Seen:
    """What a publish has found on the server."""

    #: Time of the last publish of each instance that counts.
    index: dict[str, float]
    #: Of the archive.
    version: bytes | None
    #: Lineages of our archives whose newest entry is among what the server knows to be folded.
    noted: frozenset[str]


class Care:
    """Looks after others. Used by one thread at a time."""

    def __init__(self, settings: Settings, names: Names, view: View) -> None:
        self._settings, self._names, self._view = settings, names, view
        self._lasting = settings.redis_ttl_disabled
        ttl = settings.redis_ttl_seconds
        self._membership = Membership(ttl, ttl / 2)

    def forget(self) -> None:
        """There was an outage: nobody is taken for dead because of it."""
        self._membership.forget()

    def ask(self, pipe: Any) -> list[str]:
        """Ask for what ``Seen.noted`` is about, if anything; gives the lineages of the reply."""
        known = [one for one in self._view.archives.values() if one.newest]
        if known:
            pipe.zmscore(self._names.folded, [one.newest for one in known])
        return [one.lineage for one in known]

    def look(self, redis: Redis, me: str, seen: Seen) -> None:
        """Bring back what is lost, and add the counts of the dead to the archive."""
        try:
            self._mind_archive(redis, seen)
            for name in self._view.lost - seen.index.keys():
                lost = self._view.others[name]
                archive.bring_back_instance(
                    redis, self._names, name, lost.incoming.stored, lost.score
                )
            if not self._lasting:
                self._fold_the_dead(redis, me, seen)
        except encoding.Damaged as error:
            self.begin_archive_anew(redis, error)

    def begin_archive_anew(self, redis: Redis, error: encoding.Damaged) -> None:
        """Without a version there is no archive, and who remembers it brings it back."""
        log.error("the archive can't be read and is begun anew: %s", error)
        redis.delete(self._names.version)

    def _mind_archive(self, redis: Redis, seen: Seen) -> None:
        """Have a copy of the newest archive, and give the server back what it has lost of it."""
        lineage, number = archive.parse_version(seen.version)
        known = self._view.archives.get(lineage)
        if lineage and (known is None or known.number < number):
            self._view.remember(archive.fetch(redis, self._names))
        elif known is not None and known.newest and lineage not in seen.noted:
            archive.bring_back_ledger(redis, self._names, known, lasting=self._lasting)
        for mine in list(self._view.archives.values()):
            if mine.lineage == lineage and mine.number <= number:
                continue
            there = archive.bring_back(redis, self._names, mine, lasting=self._lasting)
            if there and lineage not in ("", mine.lineage):
                del self._view.archives[mine.lineage]  # it is part of the other one now

    def _fold_the_dead(self, redis: Redis, me: str, seen: Seen) -> None:
        self._membership.look(seen.index, time.monotonic())
        for name in self._membership.dead(me, self._settings.publish_seconds):
            other = self._view.others.get(name)
            remembered = other.incoming if other is not None else None
            # Where the data is damaged, those who remember it come first.
            last = self._membership.silent(name) >= 2 * self._settings.redis_ttl_seconds
            if remembered is None and last:
                remembered = Incoming()
            if (
                archive.fold(redis, self._names, name, remembered, lasting=self._lasting)
                is not None
            ):
                log.info("%s is dead; its counts are kept", name)
