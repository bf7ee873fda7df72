"""A storage that hosts share, however it behaves: what scrapes see and how long they take."""

from __future__ import annotations

import threading
import time
from array import array
from dataclasses import replace

import pytest

from gunicorn_prometheus_core.errors import SettingsError, StorageUnavailable
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import Process, Snapshot
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_server.publishing import Health, Shared
from gunicorn_prometheus_storage_mmap.backend import MmapStorage
from gunicorn_prometheus_storage_mmap.recorder import Recorder

PATIENCE = 0.5


def counted(value, instance):
    process = Process("worker-0", "worker", "0", alive=True)
    values = memoryview(array("d", [value, 0.0]))
    stored = key("others", "others_total", {}, "help")
    return Snapshot(process, "counter", [stored], [0], values, instance)


class Backend:
    """A backend of a third party."""

    protocol = 1
    capabilities = frozenset({"retires"})
    options = ()
    instance = "here"

    def __init__(self):
        self.published, self.retired, self.closed = [], [], False
        self.trouble = None
        self.others = [counted(5.0, "there")]
        self.threads = set()
        self.opened = 0

    def open(self, settings, directory):
        self.opened += 1
        self._act()
        return self

    def _act(self):
        self.threads.add(threading.current_thread().name)
        if self.trouble is not None:
            self.trouble()

    def publish(self, snapshots):
        self._act()
        self.published.append({(one.process.name, one.kind) for one in snapshots})

    def collect(self):
        self._act()
        return self.others

    def processes(self):
        return []

    def retire(self, instance):
        self._act()
        self.retired.append(instance)

    def close(self):
        self.closed = True


def unavailable():
    raise StorageUnavailable("it is away")


def defect():
    raise KeyError("a defect")


class Exporter:
    """What the program puts together."""

    def __init__(self, directory, backend, **more):
        self.backend = backend
        settings = Settings(
            publish_seconds=0.05, storage_timeout_seconds=PATIENCE, storage="theirs", **more
        )
        pages = MmapStorage(str(directory))
        self.shared = Shared(pages, backend, settings, str(directory), Recorder())
        self._exposition = Exposition(self.shared, {"storage": Health(self.shared)})
        self.shared.start()

    def scrape(self):
        lines = self._exposition.render(TEXT_0_0_4).decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    def stop(self):
        self.shared.stop()
        self.shared.close()


@pytest.fixture
def exporter(directory):
    exporter = Exporter(directory, Backend())
    yield exporter
    exporter.backend.trouble = None
    exporter.stop()


def test_a_scrape_has_own_values_and_others(exporter):
    found = exporter.scrape()
    assert found['jobs_total{q="x"}'] == "3.0"
    assert found["others_total"] == "5.0"
    assert found["gunicorn_workers"] == "1.0"
    assert found["gunicorn_exporter_storage_up"] == "1.0"
    assert time.time() - float(found["gunicorn_exporter_last_publish_timestamp_seconds"]) < 20


def test_it_publishes_again_and_again_from_one_thread(exporter, until):
    until(lambda: len(exporter.backend.published) > 3)
    assert all({kind for _, kind in one} >= {"counter"} for one in exporter.backend.published)
    exporter.scrape()
    assert exporter.backend.threads == {"publishing"}


@pytest.mark.parametrize("trouble", [unavailable, defect])
def test_while_it_is_down_others_values_stay_as_they_were(exporter, until, trouble, caplog):
    exporter.scrape()
    exporter.backend.trouble = trouble
    until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "0.0")
    found = exporter.scrape()
    assert (found['jobs_total{q="x"}'], found["others_total"]) == ("3.0", "5.0")
    assert found["gunicorn_workers"] == "0.0"  # nobody knows who of the others lives
    until(lambda: len(exporter.backend.published) >= 1)
    exporter.backend.others = [counted(6.0, "there")]
    exporter.backend.trouble = None
    until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")
    assert exporter.scrape()["others_total"] == "6.0"
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1


def test_a_backend_that_hangs_delays_no_scrape_for_long(exporter, until):
    exporter.scrape()
    held = threading.Event()
    exporter.backend.trouble = lambda: held.wait(20)
    try:
        for turn in range(3):
            start = time.monotonic()
            found = exporter.scrape()
            assert time.monotonic() - start < (PATIENCE + 1 if turn == 0 else PATIENCE)
            assert found["others_total"] == "5.0"
        assert found["gunicorn_exporter_storage_up"] == "0.0"
    finally:
        exporter.backend.trouble = None
        held.set()
    until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")


def test_at_the_end_the_last_values_are_published_and_the_instance_retired(directory, until):
    exporter = Exporter(directory, Backend())
    until(lambda: exporter.backend.published)
    number = len(exporter.backend.published)
    exporter.stop()
    assert len(exporter.backend.published) > number
    assert exporter.backend.retired == ["here"]
    assert exporter.backend.closed


def test_while_somebody_else_records_the_instance_is_not_retired(directory, until, monkeypatch):
    exporter = Exporter(directory, Backend())
    until(lambda: exporter.backend.published)
    living = [Process("worker-0", "worker", "0", alive=True, pid=1)]
    monkeypatch.setattr(MmapStorage, "processes", lambda _: living)
    exporter.stop()
    assert exporter.backend.retired == []


def test_with_scope_instance_others_are_not_asked_for(directory, until):
    exporter = Exporter(directory, Backend(), scope="instance")
    try:
        until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")
        assert "others_total" not in exporter.scrape()
        assert exporter.shared.instance == ""
        assert exporter.backend.published
    finally:
        exporter.stop()


def test_one_that_cannot_retire_is_not_asked_to(directory, until):
    exporter = Exporter(directory, Backend())
    exporter.backend.capabilities = frozenset()
    until(lambda: exporter.backend.published)
    exporter.stop()
    assert (exporter.backend.retired, exporter.backend.closed) == ([], True)


# Whatever a backend does, this host's values are served, and the fault is named


def misconfigured():
    raise SettingsError("THEIR_SETTING=1 (from the environment): must be 2")


def hangs(held):
    return lambda: held.wait(20)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (unavailable, "it is away"),
        (misconfigured, "THEIR_SETTING=1 (from the environment): must be 2"),
        (defect, "the storage backend theirs failed"),
    ],
)
def test_one_that_cannot_be_opened_is_tried_again(directory, until, caplog, trouble, words):
    backend = Backend()
    backend.trouble = trouble
    exporter = Exporter(directory, backend)
    try:
        until(lambda: backend.opened > 2)
        found = exporter.scrape()
        assert found['jobs_total{q="x"}'] == "3.0"
        assert found["gunicorn_exporter_storage_up"] == "0.0"
        (said,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert words in said
        backend.trouble = None
        until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")
        assert exporter.scrape()["others_total"] == "5.0"
    finally:
        backend.trouble = None
        exporter.stop()


def test_one_that_hangs_while_it_is_opened_delays_one_scrape(directory, until):
    backend, held = Backend(), threading.Event()
    backend.trouble = hangs(held)
    exporter = Exporter(directory, backend)
    try:
        start = time.monotonic()
        for _ in range(5):
            assert exporter.scrape()['jobs_total{q="x"}'] == "3.0"
        assert time.monotonic() - start < 2 * PATIENCE + 1
        assert exporter.scrape()["gunicorn_exporter_storage_up"] == "0.0"
    finally:
        backend.trouble = None
        held.set()
        until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")
        exporter.stop()


NONSENSE = {
    "nothing": None,
    "a number": 7,
    "no snapshots": ["text"],
    "positions behind the values": [replace(counted(9.0, "there"), at=[70])],
    "positions that do not rise": [replace(counted(9.0, "there"), at=[1, 0], keys=[b"x", b"y"])],
    "fewer positions than keys": [replace(counted(9.0, "there"), at=[])],
    "texts as keys": [replace(counted(9.0, "there"), keys=["key"])],
    "a list of values": [replace(counted(9.0, "there"), values=[9.0])],
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_left_out_and_named_once(exporter, until, caplog, name):
    exporter.scrape()
    exporter.backend.others = NONSENSE[name]
    for _ in range(3):
        published = len(exporter.backend.published)
        until(lambda: len(exporter.backend.published) > published)  # noqa: B023  called at once
        found = exporter.scrape()
    assert (found['jobs_total{q="x"}'], found["others_total"]) == ("3.0", "5.0")
    assert found["gunicorn_exporter_storage_up"] == "0.0"
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert said.startswith("the storage backend theirs is at fault: ")
    exporter.backend.others = [counted(6.0, "there")]
    until(lambda: exporter.scrape()["gunicorn_exporter_storage_up"] == "1.0")
    assert exporter.scrape()["others_total"] == "6.0"


@pytest.mark.parametrize("method", ["retire", "close"])
def test_one_that_fails_at_the_end_is_named(directory, until, caplog, method):
    exporter = Exporter(directory, Backend())
    until(lambda: exporter.backend.published)
    setattr(exporter.backend, method, lambda *_: defect())
    exporter.stop()
    assert "the storage backend theirs failed" in caplog.text
