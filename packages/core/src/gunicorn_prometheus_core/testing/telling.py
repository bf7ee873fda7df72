"""What is known of series beside their values: remarks, and that they were removed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ..merge import Merge
from ..recording import key
from ..storage import (
    REMARK_KINDS,
    REMARKS,
    REMOVALS,
    SUMMED_KINDS,
    Remark,
    Snapshot,
    latest,
)
from ..text import SamplePrefixes
from .hosts import Host, totals
from .place import Place
from .rules import rule
from .seeing import Hosts, same
from .suite import ValueTests

X, Y = (key(name, f"{name}_total", {"path": "/größe"}, "Help.") for name in "xy")
G, H = (key(name, name, {}, "Help.") for name in "gh")


class TellingTests(ValueTests):
    """Tests of what is known of series beside their values."""

    @rule("REMARKS")
    @pytest.mark.parametrize("kind", sorted(REMARK_KINDS))
    def test_what_was_said_of_a_series_last_comes_along(
        self, place: Place, host: Hosts, observer: Hosts, kind: str
    ) -> None:
        """A backend with the capability REMARKS gives what a host has said last of each series, by
        whichever process, as it was said. One without gives no remarks at all."""
        shows = host("shows")
        sees = observer(shows)
        shows.count("x")
        shows.remark(kind, X, Remark({"trace_id": "0af7", "q": '"\\\n\0\U0001f600'}, 0.1, 1000.25))
        shows.remark(kind, X, Remark({"trace_id": "b7ad"}, 5e-324, 1002.5), process="worker-1")
        for text in ("first", "second"):
            shows.remark(kind, Y, Remark({"text": text}, 1.0, 1001.0 + len(text)))
            self.show(shows)
            expected = remarks(shows.snapshots()) if REMARKS in place.backend().capabilities else {}
            same(remarks(sees.collect()), expected, "what was said")
        same(sees.totals(), {"x": 1.0}, "the values beside it")

    @rule("Storage.publish")
    def test_what_is_not_said_any_more_is_gone(
        self, place: Place, host: Hosts, observer: Hosts
    ) -> None:
        """A publish is all that a host says as well: what isn't in it any more is gone."""
        if REMARKS not in place.backend().capabilities:
            return  # it gives none: the test before
        shows = host("shows")
        sees = observer(shows)
        shows.count("x")
        for kind in REMARK_KINDS:
            shows.remark(kind, X, Remark({"a": "b"}, 1.0, 1000.0))
            shows.remark(kind, Y, Remark({"a": "b"}, 1.0, 1000.0))
        self.show(shows)
        del shows.remarks["worker-0", "info"], shows.remarks["worker-0", "exemplar"][X]
        self.show(shows)
        same(remarks(sees.collect()), remarks(shows.snapshots()), "what is left")

    @rule("REMOVALS")
    def test_a_series_that_was_removed_is_gone_until_it_comes_again(
        self, place: Place, host: Hosts, observer: Hosts
    ) -> None:
        """With the capability REMOVALS, series that a host has removed are gone for others as well,
        and what they counted is still there when they come again. Without it nothing is said about
        removals, and all that was counted stays."""
        shows = host("shows")
        sees = observer(shows)
        can = REMOVALS in place.backend().capabilities
        record(shows, X, Y, G, H)
        self.show(shows)
        same(samples(sees.collect()), {"x_total", "y_total", "g", "h"}, "before")
        shows.page("counter").remove(X, 2000.0)
        shows.page("gauge_max").remove(G, 2000.0)
        self.show(shows)
        found = sees.collect()
        if can:
            same(samples(found), {"y_total", "h"}, "what is left when others are removed")
        else:
            known = {one.removed for one in found if one.kind in SUMMED_KINDS}
            same(known, {None}, "what it says of removals")
        same(totals(found), {"x /größe": 3.0, "y /größe": 3.0}, "what was counted")
        shows.page("counter").set(X, 4.0)
        self.show(shows)
        found = sees.collect()
        same("x_total" in samples(found), True, "whether it has come again")
        same(totals(found), {"x /größe": 4.0, "y /größe": 3.0}, "what was counted then")


def record(host: Host, *keys: bytes) -> None:
    """Let a host have counted 3 in each of the counters X and Y, and the gauges G and H be 5."""
    for name in keys:
        if name in (X, Y):
            host.page("counter").set(name, 3.0)
        else:
            host.page("gauge_max").set(name, 5.0, 1000.0)


def remarks(snapshots: Iterable[Snapshot]) -> dict[tuple[str, bytes], Remark]:
    """What was said of each series last, by kind and key."""
    return {
        (kind, name): remark
        for kind in REMARK_KINDS
        for name, remark in latest(one.remarks() for one in snapshots if one.kind == kind).items()
    }


def samples(snapshots: Iterable[Snapshot]) -> set[str]:
    """The names of the samples that a scrape shows of these snapshots."""
    families = Merge(SamplePrefixes("underscores")).families(snapshots)
    texts = (text for family in families for text, _ in family.samples())
    return {text.decode().partition("{")[0].strip() for text in texts}
