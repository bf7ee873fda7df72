"""What every backend has to do, the one that reads pages included."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from ..recording import key
from ..settings import Settings, shown
from ..storage import CAPABILITIES, PROTOCOL
from .hosts import DEADLINE_SECONDS, Host, cells, descriptors, totals
from .place import Place
from .publisher import environment
from .rules import Guarded, rule
from .seeing import MODES, Hosts, same

KINDS = ("counter", "histogram", "summary", *(f"gauge_{mode}" for mode in MODES))
#: Doubles that are lost by what isn't made for doubles.
DOUBLES = (
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    2.0**53 - 1,
    -1.5,
    math.inf,
    -math.inf,
    math.nan,
)
KEYS = (
    key("plain", "plain_total", {}, ""),
    key("labels", "labels_total", {"path": "/größe/\U0001f600", "q": "\"'\\\n\0;--"}, "Help."),
    "[ungültig".encode("latin-1"),
    b"",
    b"\x00\xff\n\r",
    b"k" * 5000,
)


class ValueTests(Guarded):
    """Tests of what every backend declares, and of values.

    A subclass has the fixture ``place``, which gives a :class:`~.place.Place`; the others are in
    :mod:`~.plugin`.
    """

    #: Whether it is for hosts to share; otherwise it reads the pages of one host.
    shared = False

    def show(self, host: Host) -> None:
        """Make what a host has recorded visible."""
        if not self.shared:
            host.place.record(host.directory, host.snapshots())
        host.publish()

    @pytest.fixture
    def observer(self, host: Hosts) -> Hosts:
        """Makes the one who sees what a host shows: another host, or one on the same pages."""
        if self.shared:
            return lambda _: host("observer")
        return lambda shown: host("observer", directory=shown.directory)

    # What it declares

    @rule("Backend.protocol")
    def test_it_says_which_version_of_the_protocol_it_is_for(self, place: Place) -> None:
        """A backend has the number of the version of the protocol it was written for."""
        same(place.backend().protocol, PROTOCOL, "protocol")

    @rule("Backend.capabilities")
    def test_it_says_what_it_can(self, place: Place) -> None:
        """A backend has a frozenset of capabilities, each of them one that there is."""
        can = place.backend().capabilities
        assert isinstance(can, frozenset), f"capabilities is a {type(can).__name__}"
        assert can <= CAPABILITIES, f"there is no capability {sorted(can - CAPABILITIES)}"

    @rule("Backend.options")
    def test_its_options_can_be_read_and_told_to_another_process(
        self, place: Place, host: Hosts
    ) -> None:
        """An option's default is what it would be read as, a text that can't be used is a
        ValueError, and values can be told to another process as JSON."""
        for option in place.backend().options:
            assert option.name.isidentifier(), f"{option.name!r} can't be the end of a variable"
            assert option.help, f"{option.name} has no help"
            if option.default is not None:
                read = option.kind.parse(shown(option.default))
                same(read, option.default, f"the default of {option.name}, read")
            for text in ("?", "\0", "-1", "x" * 100):
                try:
                    option.kind.parse(text)
                except ValueError:
                    continue
        settings = host().settings
        same(Settings.loads(settings.dumps()), settings, "settings that were told")

    @rule("Backend")
    def test_looking_at_it_has_no_effect(self, place: Place) -> None:
        """Importing a backend's module, calling the entry point and looking at what it declares
        opens, starts, prints and logs nothing."""
        backend = place.backend
        code = (
            "import os, sys, threading, logging\n"
            "import gunicorn_prometheus_core.storage\n"
            "def state():\n"
            "    fds = '/proc/self/fd'\n"
            "    links = (os.path.join(fds, fd) for fd in os.listdir(fds))\n"
            "    files = sorted(os.readlink(link) for link in links if os.path.lexists(link))\n"
            "    return files, threading.active_count(), list(logging.root.handlers)\n"
            "before = state()\n"
            "import importlib\n"
            "made = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])()\n"
            "made.protocol, made.capabilities, made.options\n"
            "assert state() == before, f'{before} became {state()}'\n"
        )
        command = [sys.executable, "-c", code, backend.__module__, backend.__qualname__]
        done = _run(command)
        assert done.returncode == 0, done.stderr
        assert not done.stdout + done.stderr, f"it printed {done.stdout + done.stderr!r}"

    # Values

    @rule("Snapshot")
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_value_of_every_kind_comes_back(
        self, host: Hosts, observer: Hosts, kind: str
    ) -> None:
        """Every value comes back with its process, kind and key, and of a gauge the time it was
        set."""
        shows = host("shows")
        sees = observer(shows)
        shows.page(kind, "worker-0").set(key("x", "x_total", {"a": "b"}, "Help."), 3.0, 1234.5)
        shows.page(kind, "worker-1").set(key("x", "x_total", {"a": "b"}, "Help."), 4.0, 1235.5)
        self.show(shows)
        same(cells(sees.collect()), cells(shows.snapshots()), f"the values of kind {kind}")

    @rule("Storage")
    def test_a_double_is_not_changed_by_a_bit(self, host: Hosts, observer: Hosts) -> None:
        """Values are doubles and come back without rounding, infinities, NaN and -0.0 included."""
        shows = host("shows")
        sees = observer(shows)
        for number, value in enumerate(DOUBLES):
            name = key(f"x{number}", f"x{number}", {}, "")
            shows.page("gauge_sum").set(name, value, 1_700_000_000.123456)
        self.show(shows)
        same(cells(sees.collect()), cells(shows.snapshots()), "the doubles")

    @rule("Storage.publish")
    def test_keys_may_be_any_bytes(self, host: Hosts, observer: Hosts) -> None:
        """Keys are bytes and may be anything, also what is no UTF-8 or no JSON."""
        shows = host("shows")
        sees = observer(shows)
        for number, name in enumerate(KEYS if self.shared else KEYS[:2]):
            shows.page("counter").set(name, float(number + 1))
        self.show(shows)
        same(cells(sees.collect()), cells(shows.snapshots()), "the keys")

    @rule("Storage.publish")
    def test_many_series_all_come_back(self, host: Hosts, observer: Hosts) -> None:
        """There is no limit to the number of series."""
        shows = host("shows")
        sees = observer(shows)
        for number in range(3000):
            shows.count("x", number, process=f"worker-{number % 2}", path=f"/{number}")
        self.show(shows)
        same(sees.totals(), totals(shows.snapshots()), "3000 series")

    @rule("Storage.collect")
    def test_processes_come_along(self, host: Hosts, observer: Hosts) -> None:
        """``processes`` gives those whose snapshots were collected, as they are: who has ended is
        not said to live, and when that was is not lost."""
        shows = host("shows")
        sees = observer(shows)
        shows.count("x", process="worker-3")
        shows.count("x", process="master-0")
        for name, alive in (("worker-4", False), ("unknown-0", None)):
            shows.count("x", process=name)
            page = shows.page("counter", name)
            page.process = replace(page.process, alive=alive, ended=1003.25)
        self.show(shows)
        collected = {one.process.name for one in sees.collect()}
        same(
            collected,
            {"worker-3", "worker-4", "master-0", "unknown-0"},
            "the processes of the snapshots",
        )
        if not self.shared:
            return  # who lives is for the pages to say
        for known in (sees.processes(), [one.process for one in sees.collect()]):
            same(
                {(one.name, one.role, one.number, one.alive, one.ended) for one in known},
                {
                    ("worker-3", "worker", "3", True, None),
                    ("worker-4", "worker", "4", False, 1003.25),
                    ("master-0", "master", "0", True, None),
                    ("unknown-0", "unknown", "0", None, 1003.25),
                },
                "the processes",
            )
            same({one.started for one in known}, {1000.5}, "the time they were started")

    # Again and again

    @rule("Storage.publish")
    def test_publishing_twice_does_not_count_twice(self, host: Hosts, observer: Hosts) -> None:
        """Publishing is idempotent: repeating it, after a lost reply say, does no harm."""
        shows = host("shows")
        sees = observer(shows)
        shows.count("x", 3)
        for _ in range(3):
            self.show(shows)
        same(sees.totals(), {"x": 3.0}, "after publishing 3 three times")

    @rule("Storage.publish")
    def test_a_value_takes_the_place_of_the_one_before(self, host: Hosts, observer: Hosts) -> None:
        """Values are absolute and take the place of what this instance has published before."""
        shows = host("shows")
        sees = observer(shows)
        for turn in range(1, 20):
            shows.count("x", 0.1, process=f"worker-{turn % 3}")
            shows.count("y", 1, path=f"/{turn}")
            shows.gauge("g", turn, "livemax", stamp=turn)
            self.show(shows)
            same(cells(sees.collect()), cells(shows.snapshots()), f"after publish {turn}")

    @rule("Storage.publish")
    def test_what_is_not_published_again_is_gone(self, host: Hosts, observer: Hosts) -> None:
        """A publish is all that a host has: what was published before and isn't in it is gone."""
        shows = host("shows")
        sees = observer(shows)
        shows.count("x", 3)
        shows.count("y", 3)
        shows.gauge("level", 5, "livesum")
        shows.count("x", 4, process="worker-1")
        self.show(shows)
        del shows.pages["worker-0", "gauge_livesum"], shows.pages["worker-1", "counter"]
        del shows.pages["worker-0", "counter"]
        shows.count("z", 1)
        shows.count("x", 3)
        self.show(shows)
        same(cells(sees.collect()), cells(shows.snapshots()), "what is left")
        shows.pages.clear()
        self.show(shows)
        same(cells(sees.collect()), {}, "what is left when a host has nothing any more")

    @rule("Snapshot")
    def test_what_was_collected_does_not_change(self, host: Hosts, observer: Hosts) -> None:
        """``keys`` and ``at`` are append-only: as long as a backend gives the same two objects,
        what they held before is unchanged. What is of another sort has new objects."""
        shows = host("shows")
        sees = observer(shows)
        held: dict[tuple[int, int], tuple[Any, Any, list[bytes], list[int]]] = {}
        for turn in range(8):
            if turn == 4:
                shows.pages.clear()
            for number in range(turn + 1):
                shows.count(f"x{number if turn < 4 else 9 - number}")
            self.show(shows)
            for one in sees.collect():
                names = id(one.keys), id(one.at)
                if names in held:
                    *_, keys, at = held[names]
                    same(list(one.keys[: len(keys)]), keys, "keys that were collected before")
                    same(list(one.at[: len(at)]), at, "positions that were collected before")
                held[names] = one.keys, one.at, list(one.keys), list(one.at)

    # The end

    @rule("Storage.close")
    def test_closing_leaves_nothing_behind(self, host: Hosts, observer: Hosts) -> None:
        """``close`` can be repeated, and leaves no descriptor and no thread."""
        shows = host("shows")
        shows.count("x")
        self.show(shows)
        shows.close()
        files, threads = descriptors(), threading.active_count()
        for _ in range(3):
            shows.publish()
            shows.collect()
            shows.call(lambda storage: storage.close())
            shows.close()
        left = {name: what for name, what in descriptors().items() if name not in files}
        assert not left, f"descriptors are left: {left}"
        same(threading.active_count(), threads, "threads")
        same(observer(shows).totals(), {"x": 1.0}, "what was published, after close")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
