"""Backends with one defect each, and the test of the suite that has to find it."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from array import array
from dataclasses import replace

from gunicorn_metrics_sqlite import SqliteBackend, backend, stored
from gunicorn_metrics_sqlite.backend import SqliteStorage

from gunicorn_prometheus_core import parsing
from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.settings import Option
from gunicorn_prometheus_core.storage import REMARK_KINDS, REMARKS, REMOVALS, Remark

#: Which test finds which mutant.
CAUGHT_BY: dict[str, str] = {}


def caught_by(test):
    def note(mutant):
        CAUGHT_BY[mutant.__name__] = test
        return mutant

    return note


class Broken(SqliteBackend):
    """A backend whose storage is the mutant's class ``Storage``."""

    def open(self, settings, directory):
        return self.Storage(settings, directory)


def changed(one, cells):
    """A snapshot with other cells."""
    return stored.snapshot(one.process, one.kind, cells, one.instance)


# Declarations


@caught_by("test_it_says_which_version_of_the_protocol_it_is_for")
class OfAnotherVersion(SqliteBackend):
    protocol = 2


@caught_by("test_it_says_what_it_can")
class ClaimsWhatThereIsNot(SqliteBackend):
    capabilities = frozenset({"flies"})


@caught_by("test_its_options_can_be_read_and_told_to_another_process")
class HasADefaultThatIsNotAllowed(SqliteBackend):
    options = (Option("level", 7, parsing.integer(8, 9), "Level."),)


@caught_by("test_looking_at_it_has_no_effect")
class StartsAThreadWhenMade(SqliteBackend):
    def __init__(self):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


# Values


@caught_by("test_many_series_all_come_back")
class LosesAValue(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish(
                changed(one, dict(list(stored.cells_of(one).items())[:1000])) for one in snapshots
            )


@caught_by("test_a_value_of_every_kind_comes_back")
class LosesTimes(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [
                changed(one, {key: (cell[0], 0.0) for key, cell in stored.cells_of(one).items()})
                for one in super().collect()
            ]


@caught_by("test_a_double_is_not_changed_by_a_bit")
class RoundsValues(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [
                replace(one, values=memoryview(array("d", array("f", one.values))))
                for one in super().collect()
            ]


@caught_by("test_keys_may_be_any_bytes")
class TakesKeysForText(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish(
                changed(
                    one,
                    {
                        key.decode("utf-8", "replace").encode(): cell
                        for key, cell in stored.cells_of(one).items()
                    },
                )
                for one in snapshots
            )


@caught_by("test_processes_come_along")
class ForgetsProcesses(Broken):
    class Storage(SqliteStorage):
        def processes(self):
            return []


@caught_by("test_processes_come_along")
class TakesTheDeadForLiving(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish(
                replace(one, process=replace(one.process, alive=True)) for one in snapshots
            )


@caught_by("test_processes_come_along")
class ForgetsWhenProcessesEnded(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish(
                replace(one, process=replace(one.process, ended=None)) for one in snapshots
            )


@caught_by("test_publishing_twice_does_not_count_twice")
class AddsInsteadOfReplacing(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            self.before = getattr(self, "before", {})
            added = []
            for one in snapshots:
                cells = self.before.setdefault((one.process.name, one.kind), {})
                for key, (value, stamp) in stored.cells_of(one).items():
                    cells[key] = cells.get(key, (0.0, 0.0))[0] + value, stamp
                added.append(changed(one, cells))
            super().publish(added)


@caught_by("test_a_value_takes_the_place_of_the_one_before")
class KeepsTheFirstValue(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            self.first = getattr(self, "first", {})
            kept = []
            for one in snapshots:
                cells = self.first.setdefault((one.process.name, one.kind), {})
                kept.append(changed(one, {**stored.cells_of(one), **cells}))
                cells.update(stored.cells_of(kept[-1]))
            super().publish(kept)


@caught_by("test_what_is_not_published_again_is_gone")
class KeepsWhatIsGone(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            self.known = getattr(self, "known", {})
            self.known.update({(one.process.name, one.kind): one for one in snapshots})
            super().publish(self.known.values())


@caught_by("test_what_is_not_published_again_is_gone")
class PublishesNothingWhereThereIsNothing(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            snapshots = list(snapshots)
            if snapshots:
                super().publish(snapshots)


@caught_by("test_what_was_collected_does_not_change")
class ReusesItsLists(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            self.lists = getattr(self, "lists", {})
            found = []
            for one in super().collect():
                keys, at = self.lists.setdefault((one.process.name, one.kind), ([], []))
                keys[:], at[:] = one.keys, one.at
                found.append(replace(one, keys=keys, at=at))
            return found


# What is known beside values


def without_removals(one):
    """A snapshot that doesn't say what was removed."""
    return changed(one, {key: (value, 0.0) for key, (value, _) in stored.cells_of(one).items()})


@caught_by("test_what_was_said_of_a_series_last_comes_along")
class DropsRemarks(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [one for one in super().collect() if one.kind not in REMARK_KINDS]


@caught_by("test_what_was_said_of_a_series_last_comes_along")
class KeepsWhatWasSaidFirst(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            self.first = getattr(self, "first", {})
            kept = []
            for one in snapshots:
                said = self.first.setdefault((one.process.name, one.kind), {})
                said.update({**one.remarks(), **said})
                kept.append(replace(one, remarks=said.copy))
            super().publish(kept)


@caught_by("test_what_was_said_of_a_series_last_comes_along")
class MakesRemarksUpThoughItMovesNone(Broken):
    capabilities = SqliteBackend.capabilities - {REMARKS}

    class Storage(SqliteStorage):
        def collect(self):
            found = super().collect()
            said = {b"[]": Remark({}, 1.0, 1.0)}
            return [*found, *(replace(one, kind="info", remarks=said.copy) for one in found)]


@caught_by("test_what_is_not_said_any_more_is_gone")
class KeepsWhatIsNotSaidAnyMore(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            self.known = getattr(self, "known", {})
            for one in snapshots:
                name = one.process.name, one.kind
                before = self.known[name].remarks() if name in self.known else {}
                said = {**before, **one.remarks()}
                self.known[name] = replace(one, remarks=said.copy)
            super().publish(self.known.values())


@caught_by("test_a_series_that_was_removed_is_gone_until_it_comes_again")
class ForgetsRemovals(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [replace(one, removed=None) for one in super().collect()]


@caught_by("test_a_series_that_was_removed_is_gone_until_it_comes_again")
class RemovesThoughItSaysItDoesNot(Broken):
    capabilities = SqliteBackend.capabilities - {REMOVALS}
    Storage = SqliteStorage


@caught_by("test_a_series_that_was_removed_is_gone_until_it_comes_again")
class DropsTheCountsOfWhatIsRemoved(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [
                changed(
                    one, {key: cell for key, cell in stored.cells_of(one).items() if cell[1] >= 0}
                )
                for one in super().collect()
            ]


@caught_by("test_a_series_that_was_removed_is_gone_until_it_comes_again")
class RemovesForEver(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            self.gone = getattr(self, "gone", {})
            found = []
            for one in super().collect():
                cells = stored.cells_of(one)
                self.gone.update({key: cell[1] for key, cell in cells.items() if cell[1] < 0})
                cells = {key: (cell[0], self.gone.get(key, cell[1])) for key, cell in cells.items()}
                found.append(changed(one, cells))
            return found


@caught_by("test_what_a_retired_instance_has_said_is_gone")
class KeepsWhatTheRetiredSaid(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            self.said = getattr(self, "said", {})
            found = super().collect()
            self.said.update(
                {(one.instance, one.kind): one for one in found if one.kind in REMARK_KINDS}
            )
            return [*(one for one in found if one.kind not in REMARK_KINDS), *self.said.values()]

        def retire(self, instance):
            self.collect()
            super().retire(instance)


@caught_by("test_what_a_retired_instance_has_removed_stays_so")
class ForgetsWhatTheRetiredRemoved(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [
                without_removals(one) if one.process.alive is False else one
                for one in super().collect()
            ]


@caught_by("test_what_a_retired_instance_has_removed_stays_so")
class DropsTheCountsOfWhatTheRetiredRemoved(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            return [
                changed(
                    one, {key: cell for key, cell in stored.cells_of(one).items() if cell[1] >= 0}
                )
                if one.process.alive is False
                else one
                for one in super().collect()
            ]


# The end


@caught_by("test_closing_leaves_nothing_behind")
class LeaksADescriptor(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self.fd = os.open("/dev/null", os.O_RDONLY)


@caught_by("test_closing_leaves_nothing_behind")
class LeavesAThread(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
            super().publish(snapshots)


@caught_by("test_closing_leaves_nothing_behind")
class FailsWhenClosedTwice(Broken):
    class Storage(SqliteStorage):
        closed = False

        def close(self):
            if self.closed:
                raise RuntimeError("closed already")
            self.closed = True


# Who sees what


@caught_by("test_each_host_sees_all_others_and_not_itself")
class SeesItself(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            mine, self.instance = self.instance, "nobody"
            try:
                return super().collect()
            finally:
                self.instance = mine


@caught_by("test_hosts_of_one_name_are_not_mixed_up")
class MixesInstances(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self.instance = settings.instance or socket.gethostname()


@caught_by("test_whoever_opens_the_same_pages_is_the_same_instance")
class IsAnotherEachTime(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self.instance = uuid.uuid4().hex


@caught_by("test_only_what_values_has_room_for_is_published")
class LooksBehindTheValues(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish(
                changed(one, {key: (one.values[at], 0.0) for key, at in zip(one.keys, one.at)})  # noqa: B905
                for one in snapshots
            )


@caught_by("test_nothing_is_looked_at_after_the_call")
class LooksAtSnapshotsLater(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            snapshots = list(snapshots)
            for before in getattr(self, "before", ()):
                stored.cells_of(before)
            self.before = snapshots
            super().publish(snapshots)


@caught_by("test_a_scrape_never_sees_half_a_publish")
class PublishesInHalves(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            snapshots = list(snapshots)
            before = getattr(self, "before", [])
            super().publish([*snapshots[:1], *before[1:]])
            time.sleep(0.05)
            self.before = [changed(one, stored.cells_of(one)) for one in snapshots]
            super().publish(snapshots)


@caught_by("test_a_scrape_never_sees_half_a_publish")
class EmptiesFirst(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            super().publish([])
            time.sleep(0.05)
            super().publish(snapshots)


@caught_by("test_hosts_that_publish_at_once_lose_nothing")
class WritesBackWhatOthersHad(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            with self._transaction() as database:
                others = database.execute(
                    "SELECT * FROM snapshots WHERE instance <> ?", [self.instance]
                ).fetchall()
            time.sleep(0.01)
            super().publish(snapshots)
            with self._transaction() as database:
                database.executemany("REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)", others)


# Faults


@caught_by("test_while_it_is_away_that_is_said_and_then_it_goes_on")
class RaisesTheWrongError(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            try:
                super().publish(snapshots)
            except StorageUnavailable as error:
                raise error.__cause__ from None


@caught_by("test_while_it_is_away_that_is_said_and_then_it_goes_on")
class TellsASecret(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self._secret = settings.redis_password

        def collect(self):
            try:
                return super().collect()
            except StorageUnavailable as error:
                raise StorageUnavailable(f"with {self._secret}: {error}") from error


@caught_by("test_while_it_is_away_that_is_said_and_then_it_goes_on")
class HidesTheCause(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            try:
                super().publish(snapshots)
            except StorageUnavailable as error:
                raise StorageUnavailable(str(error)) from None


@caught_by("test_while_it_is_away_that_is_said_and_then_it_goes_on")
class SwallowsOutages(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            try:
                return super().collect()
            except StorageUnavailable:
                return []


@caught_by("test_while_it_is_away_that_is_said_and_then_it_goes_on")
class NeverComesBack(Broken):
    class Storage(SqliteStorage):
        error = None

        def publish(self, snapshots):
            if self.error is not None:
                raise self.error
            try:
                super().publish(snapshots)
            except StorageUnavailable as error:
                self.error = error
                raise


@caught_by("test_a_place_that_does_not_answer_is_not_waited_for_long")
class Blocks(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self._patience = 8.0


@caught_by("test_what_a_wiped_place_has_lost_is_published_again")
class PublishesChangesOnly(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            snapshots = list(snapshots)
            now = [(one.process, one.kind, stored.cells_of(one)) for one in snapshots]
            if now != getattr(self, "before", None):
                super().publish(snapshots)
            self.before = now


@caught_by("test_what_is_damaged_is_never_taken_for_values")
class TrustsWhatIsStored(Broken):
    class Storage(SqliteStorage):
        pass

    def open(self, settings, directory):
        stored.zlib = _NoChecksum  # in the tests of this mutant only: see the file that runs them
        return super().open(settings, directory)


class _NoChecksum:
    """Takes the place of zlib."""

    @staticmethod
    def crc32(_):
        return 0


@caught_by("test_what_is_damaged_is_never_taken_for_values")
class NeverMends(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            if hasattr(self, "damaged"):
                raise self.damaged
            try:
                return super().collect()
            except StorageUnavailable as error:
                self.damaged = error
                raise


# The dead


@caught_by("test_one_that_cannot_retire_says_so")
class SaysNothingThoughItCannotRetire(Broken):
    capabilities = frozenset()

    class Storage(SqliteStorage):
        def retire(self, instance):
            pass


@caught_by("test_what_is_kept_of_a_retired_instance")
class DropsTheArchive(Broken):
    class Storage(SqliteStorage):
        def retire(self, instance):
            with self._transaction() as database:
                name = [instance or self.instance]
                database.execute("DELETE FROM instances WHERE name = ?", name)


@caught_by("test_what_is_kept_of_a_retired_instance")
class KeepsLiveGauges(Broken):
    class Storage(SqliteStorage):
        def retire(self, instance):
            with self._transaction() as database:
                name = [instance or self.instance]
                database.execute("UPDATE instances SET retired = TRUE WHERE name = ?", name)


@caught_by("test_a_retired_instance_that_publishes_again_counts_once")
class CountsTheReturnedTwice(Broken):
    class Storage(SqliteStorage):
        def retire(self, instance):
            super().retire(instance)
            name = instance or self.instance
            with self._transaction() as database:
                other = f"{name}-{uuid.uuid4()}"
                database.execute("INSERT INTO instances VALUES (?, 9e9, TRUE)", [other])
                database.execute(
                    "UPDATE snapshots SET instance = ? WHERE instance = ?", [other, name]
                )


@caught_by("test_what_is_kept_of_many_is_no_more_than_of_a_few")
class KeepsEachOfTheRetired(Broken):
    class Storage(SqliteStorage):
        def collect(self):
            with self._transaction() as database:
                rows = database.execute("SELECT instance, kind, facts, cells FROM snapshots")
                return [
                    stored.snapshot(
                        backend.Process(**backend.json.loads(facts)),
                        kind,
                        dict(stored.unpack(cells)),
                        instance,
                    )
                    for instance, kind, facts, cells in rows
                    if instance != self.instance
                ]


class KeepsOtherwise(Broken):
    """Keeps the gauges of one kind in another way than their mode says."""

    Storage = SqliteStorage
    kept = ()

    def open(self, settings, directory):
        # In the tests of this mutant only: see the file that runs them.
        stored.KEPT = dict([*stored.KEPT.items(), self.kept])
        return super().open(settings, directory)


@caught_by("test_what_is_kept_of_many_is_no_more_than_of_a_few")
class KeepsTheGreatestForTheLeast(KeepsOtherwise):
    kept = "gauge_min", max


@caught_by("test_what_is_kept_of_many_is_no_more_than_of_a_few")
class KeepsTheFirstForTheMostRecent(KeepsOtherwise):
    kept = "gauge_mostrecent", lambda cells: cells[0]


@caught_by("test_what_is_kept_of_many_is_no_more_than_of_a_few")
class KeepsTheGreatestForTheSum(KeepsOtherwise):
    kept = "summary", max


@caught_by("test_no_counter_falls_by_its_last_digit")
class RoundsWhatItKeeps(Broken):
    Storage = SqliteStorage

    def open(self, settings, directory):
        exactly = stored.kept
        if exactly.__module__ == stored.__name__:
            stored.kept = lambda kind, cells: exactly(kind, cells)[:1]
        return super().open(settings, directory)


@caught_by("test_while_hosts_come_and_go_nothing_is_missing_or_there_twice")
class RetiresInTwoSteps(Broken):
    class Storage(SqliteStorage):
        def retire(self, instance):
            with self._transaction() as database:
                query = "SELECT * FROM snapshots WHERE instance = ?"
                rows = database.execute(query, [self.instance]).fetchall()
                database.execute("DELETE FROM snapshots WHERE instance = ?", [self.instance])
            time.sleep(1.0)
            with self._transaction() as database:
                database.executemany("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)", rows)
            super().retire(instance)


@caught_by("test_a_silent_instance_is_dead_if_it_says_so")
class NeverExpires(Broken):
    class Storage(SqliteStorage):
        def __init__(self, settings, directory):
            super().__init__(settings, directory)
            self._ttl = 1e9


@caught_by("test_a_silent_instance_is_dead_if_it_says_so")
class ForgetsTheSilent(Broken):
    class Storage(SqliteStorage):
        def publish(self, snapshots):
            with self._transaction() as database:
                silent = [time.time() - self._ttl / 2]
                database.execute("DELETE FROM instances WHERE seen < ?", silent)
            super().publish(snapshots)
