"""Who sees what in a storage that hosts share."""

from __future__ import annotations

from ..recording import key
from .hosts import totals
from .place import Place
from .publisher import Publishing
from .rules import rule
from .seeing import Hosts, look, same
from .suite import ValueTests


class SharingTests(ValueTests):
    """Tests of who sees what."""

    shared = True

    @rule("Storage.collect")
    def test_each_host_sees_all_others_and_not_itself(self, host: Hosts) -> None:
        """``collect`` gives the snapshots of all instances but this one, each with its name."""
        hosts = [host(name) for name in "abc"]
        for number, each in enumerate(hosts):
            each.count("x", 10.0**number)
            each.publish()
        names = [each.instance for each in hosts]
        for each, total in zip(hosts, (110.0, 101.0, 11.0), strict=True):
            found = each.collect()
            same({one.instance for one in found}, {*names} - {each.instance}, "instances")
            same(totals(found), {"x": total}, "the sum of the others")

    @rule("Storage.instance")
    def test_hosts_of_one_name_are_not_mixed_up(self, host: Hosts) -> None:
        """No two hosts have the same instance, however they are called."""
        a, b, c = host("same"), host("same"), host("other")
        a.count("x", 3)
        b.count("x", 4)
        a.publish()
        b.publish()
        assert a.instance != b.instance, f"both are {a.instance!r}"
        assert a.instance, "the instance has no name"
        same(c.totals(), {"x": 7.0}, "the sum of 3 and 4")
        same((a.totals(), b.totals()), ({"x": 4.0}, {"x": 3.0}), "what they see of each other")

    @rule("Storage.instance")
    def test_whoever_opens_the_same_pages_is_the_same_instance(self, host: Hosts) -> None:
        """An instance belongs to its pages: an exporter process that is started anew, and a second
        one beside it, go on as the same instance."""
        a, b = host("a"), host("b")
        a.count("x", 3)
        a.publish()
        name = a.instance
        beside = host("a", directory=a.directory)
        beside.pages = a.pages
        beside.publish()
        same(beside.instance, name, "the instance of a second exporter process")
        same(beside.totals(), {}, "what it sees of others")
        a.close()
        beside.close()
        a.count("x")
        a.publish()
        same(a.instance, name, "the instance of a new exporter process")
        same((a.totals(), b.totals()), ({}, {"x": 4.0}), "what it and another host see")

    @rule("Storage.publish")
    def test_only_what_values_has_room_for_is_published(self, host: Hosts) -> None:
        """``keys`` and ``at`` may grow while a snapshot is looked at: what counts is what
        ``values`` has room for."""
        a, b = host("a"), host("b")
        a.count("x", 3)
        page = a.page("counter")
        early = page.snapshot()
        late = key("y", "y_total", {}, "Help.")
        page.keys.append(late)
        page.at.append(len(early.values))
        a.call(lambda storage: storage.publish([early]))
        same(b.totals(), {"x": 3.0}, "while the page grows")
        page.keys.pop()
        page.at.pop()
        page.set(late, 4.0)
        a.publish()
        same(b.totals(), {"x": 3.0, "y": 4.0}, "when it has grown")

    @rule("Storage.publish")
    def test_nothing_is_looked_at_after_the_call(self, host: Hosts) -> None:
        """The snapshots are for looking at during the call: afterwards their memory may be gone."""
        a, b = host("a"), host("b")
        a.count("x", 3)
        snapshots = a.snapshots()
        a.call(lambda storage: storage.publish(snapshots))
        for one in snapshots:
            one.values.release()
        same(b.totals(), {"x": 3.0}, "what was published")
        a.count("x")
        a.publish()
        same(b.totals(), {"x": 4.0}, "what was published next")

    @rule("Storage.publish")
    def test_a_scrape_never_sees_half_a_publish(self, place: Place, host: Hosts) -> None:
        """A publish is visible as a whole or not at all, also of a host that is killed at it, and
        no counter falls."""
        observer = host("observer")
        with Publishing(host("killed"), until=10**9) as publisher:
            seen = 0.0
            for _ in range(20):
                publisher.wait_for(1)
                seen = look(observer, seen)
        known = publisher.last
        for _ in range(3):
            seen = look(observer, seen)
        assert seen >= known, f"it has published {known}, and others see {seen}"

    @rule("Storage.publish")
    def test_hosts_that_publish_at_once_lose_nothing(self, host: Hosts) -> None:
        """Several hosts may publish at the same moment: none of them takes away another's."""
        observer = host("observer")
        publishers = [Publishing(host(f"busy{number}"), until=25) for number in range(4)]
        try:
            seen = 0.0
            while any(each.process.poll() is None for each in publishers):
                seen = look(observer, seen)
            for each in publishers:
                each.expect_end()
        finally:
            for each in publishers:
                each.kill()
        same(observer.totals(), {"x": 100.0, "y": 100.0}, "what 4 hosts have counted 25 times")
