"""The storage, as the exporter process of each host uses it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Any

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import REMARK_KINDS, Process, Snapshot

from . import archive, counts, encoding
from .archive import LIFETIME_SECONDS, REMAINS_SECONDS
from .care import Care, Seen
from .connection import Connection, Redis
from .counts import Counts
from .incoming import Incoming, read
from .names import ARCHIVE, Names
from .outgoing import Outgoing, Update
from .run import Run
from .view import View

_EXTEND_SECONDS = 3600.0
_ATTEMPTS = 20


class RedisStorage:
    """See :class:`gunicorn_prometheus_core.storage.Storage`."""

    def __init__(self, settings: Settings, directory: str) -> None:
        self._settings = settings
        self._names = Names.under(settings.redis_key_prefix, cluster=settings.redis_cluster)
        self._connection = Connection(settings, self._names.instances)
        self._run = Run(directory, settings.instance)
        self._outgoing = Outgoing(self._run.base)
        self._view = View(self._names)
        self._base: list[Snapshot] = []
        self._care = Care(settings, self._names, self._view)
        #: Time of our last publish as it stands in the index; None when that isn't known.
        self._score: float | None = None
        self._latest = 0.0
        self._turn = 0
        self._extended = 0.0
        self._processes: list[Process] = []
        self._show_base()

    @property
    def instance(self) -> str:
        """This host's instance, "" when only its own values are shown."""
        return self._run.instance if self._sees_others else ""

    @property
    def _sees_others(self) -> bool:
        return self._settings.scope == "all"

    # Publishing

    def publish(self, snapshots: Iterable[Snapshot]) -> None:
        """Store what has changed, in one round trip, and look after what others have left."""
        if not self._run.hold():
            return  # another exporter process publishes the same pages
        snapshots = list(snapshots)  # they may be needed twice
        with self._reaching() as redis:
            if self._score is None:
                self._find_ourselves(redis)
            update = self._outgoing.update(snapshots)
            seen = self._send(redis, update)
            if seen is None:
                # The server has another state than we thought; begin with finding out which.
                self._begin_anew()
                self._find_ourselves(redis)
                seen = self._send(redis, self._outgoing.update(snapshots))
                if seen is None:
                    raise StorageUnavailable("somebody else changes what we publish")
            self._care.look(redis, self._run.instance, seen)

    def _find_ourselves(self, redis: Redis) -> None:
        """Learn what the server knows of us, and put that right for a publish to follow."""
        me = self._run.instance
        with redis.pipeline(transaction=True) as pipe:
            pipe.zscore(self._names.instances, me)
            pipe.zscore(self._names.folded, me)
            score, folded = pipe.execute()
        if score is None and folded is not None:
            self._go_on_as_another(redis)
            return self._find_ourselves(redis)
        self._latest = max(self._latest, score or 0.0)
        self._score = score

    def _send(self, redis: Redis, update: Update) -> Seen | None:
        """Store an update. Gives what was found on the server.

        None when the server was not in the state that the update is for. What it has stored
        then is in the index only if it is whole.
        """
        me, names = self._run.instance, self._names
        values, keys, state = names.data(me)
        data = values, keys, state, names.remarks(me)
        now = time.time()
        stamp = round(max(now, self._latest + 0.001), 3)
        part = self._part_to_check(update)
        lasting = self._settings.redis_ttl_disabled
        extending = not lasting and (update.full or now - self._extended > _EXTEND_SECONDS)
        with redis.pipeline(transaction=True) as pipe:
            pipe.zrange(names.instances, 0, -1, withscores=True)
            pipe.get(names.version)
            (pipe.hlen if part in (0, 3) else pipe.strlen)(data[part])
            # The first publish of an instance puts it into the index; any other one finds it
            # there, or others have added it to the archive.
            pipe.zadd(names.instances, {me: stamp}, xx=self._score is not None)
            if update.full:
                pipe.delete(*data)
            if update.chunks:
                pipe.hset(values, mapping=dict(update.chunks))
            if update.log:
                pipe.setrange(keys, update.log_offset, update.log)
            if update.remarks.full and not update.full:
                pipe.delete(names.remarks(me))
            if update.remarks.fields:
                pipe.hset(names.remarks(me), mapping=dict(update.remarks.fields))
            if update.remarks.gone:
                pipe.hdel(names.remarks(me), *update.remarks.gone)
            if update.state is not None:
                pipe.set(state, update.state, ex=None if lasting else LIFETIME_SECONDS)
            if extending:
                for key in (*data, names.instances, names.version, names.folded):
                    pipe.expire(key, LIFETIME_SECONDS)
                for key in names.data(ARCHIVE):
                    pipe.expire(key, LIFETIME_SECONDS)
            lineages = self._care.ask(pipe)
            listed, version, size, *replies = pipe.execute()
        index = encoding.scores(listed)
        stored, said = self._outgoing.stored, self._outgoing.remarks.stored or {}
        parts = (stored.chunks, stored.log, stored.state, said) if stored is not None else ()
        whole = update.full or size == len(parts[part])
        self._latest, self._turn = stamp, self._turn + 1
        if index.get(me) != self._score or not whole:
            return None
        self._score = stamp
        self._outgoing.is_stored(update)
        self._extended = now if extending else self._extended
        found = zip(lineages, replies[-1] if lineages else (), strict=True)
        return Seen(index, version, frozenset(name for name, when in found if when is not None))

    def _part_to_check(self, update: Update) -> int:
        """Which of our keys to look at before an update: values, keys, state or remarks.

        Servers that evict take single keys. To be brief we look at one each time, but never add
        to a log that may not be there: it would be as long as it should be, and empty.
        """
        return 1 if update.log else self._turn % (4 if self._outgoing.remarks.stored else 3)

    def _begin_anew(self) -> None:
        self._score = None
        self._outgoing.forget()
        self._care.forget()

    def _go_on_as_another(self, redis: Redis) -> None:
        """We were taken for dead, and our counts are in the archive: count on from there."""
        former = self._run.instance
        if not self._run.reload():
            with redis.pipeline(transaction=True) as pipe:
                archive.ask(pipe, self._names.remains(former))
                remains = archive.answer(pipe.execute())
            self._run.go_on(self._folded(remains))
            redis.delete(*self._names.data(former), self._names.remarks(former))
            log.warning(
                "%s had published nothing for too long and was taken for dead; it goes on as %s",
                former,
                self._run.instance,
            )
        self._outgoing = Outgoing(self._run.base)
        self._show_base()
        self._begin_anew()

    def _folded(self, remains: encoding.Stored | None) -> Counts:
        """What of us has been added to the archive: what was left, or what we stored last."""
        try:
            if remains is not None:
                return counts.of_archive(read(remains))
            if self._outgoing.last is not None:
                return counts.of_instance(read(self._outgoing.last))
        except encoding.Damaged as error:
            log.error("what was added to the archive of this host can't be read: %s", error)
        log.error("it isn't known what was added to the archive of this host: it counts twice")
        return {}

    # Collecting

    def collect(self) -> Sequence[Snapshot]:
        """What all other instances have published, and what the archive holds."""
        if not self._sees_others:
            return []
        with self._reaching() as redis:
            while not self._view.read(redis, self._run.instance):
                self._go_on_as_another(redis)
        found = [*self._view.snapshots(), *self._base]
        named = {
            (one.instance, one.process.name): one.process
            for one in found
            if one.kind not in REMARK_KINDS
        }
        self._processes = list(named.values())
        return found

    def processes(self) -> Sequence[Process]:
        """The processes of other instances as of the last ``collect``."""
        return self._processes

    def _show_base(self) -> None:
        """What of our counts is in the archive is taken away again from the sum."""
        processes = {name: _named(name) for name, _ in self._run.base}
        self._base = counts.snapshots(self._run.base, processes, "base", sign=-1)

    # The end

    def retire(self, instance: str) -> None:
        """Add an instance's counts to the archive now, without waiting for its time to pass.

        ``instance`` is this one's name, or "", when this host has ended.
        """
        me = self._run.instance
        is_ours = instance in ("", me)
        if is_ours and not (self._run.hold() and self._score is not None):
            return  # not ours to end, or nothing is published
        name = me if is_ours else instance
        lasting = self._settings.redis_ttl_disabled
        remains = self._settings.redis_ttl_seconds if is_ours else REMAINS_SECONDS
        other = self._view.others.get(name)
        remembered = other.incoming if other is not None else Incoming()
        added = None
        with self._reaching() as redis:
            for _ in range(_ATTEMPTS):
                try:
                    added = archive.fold(
                        redis,
                        self._names,
                        name,
                        remembered,
                        lasting=lasting,
                        remains_seconds=remains,
                    )
                except encoding.Damaged as error:
                    self._care.begin_archive_anew(redis, error)
                    continue
                if added is not None or redis.zscore(self._names.instances, name) is None:
                    break
                # Many end at the same time when an application is deployed.
                sleep(random.uniform(0.0, 0.1))
            if is_ours and added is not None:
                self._run.go_on(added)
                self._outgoing = Outgoing(self._run.base)
                self._show_base()
                self._begin_anew()

    def close(self) -> None:
        """Let go of the connection and of the pages."""
        self._connection.close()
        self._run.close()

    @contextmanager
    def _reaching(self) -> Iterator[Any]:
        """A client. When something goes wrong, it isn't known any more what the server has."""
        try:
            with self._connection.use() as redis:
                yield redis
        except BaseException:
            self._begin_anew()
            raise


def _named(name: str) -> Process:
    """A process of which only the name is known."""
    role, _, number = name.rpartition("-")
    return Process(name, role or "other", number, alive=False)
