"""A storage that hosts share, however it behaves: what scrapes see and how long they take."""

from __future__ import annotations

import threading
import time
from array import array

import pytest

from gunicorn_prometheus_core.errors import StorageUnavailable
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

    instance = "here"

    def __init__(self):
        self.published, self.retired, self.closed = [], [], False
        self.trouble = None
        self.others = [counted(5.0, "there")]
        self.threads = set()

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

    def __init__(self, directory, backend):
        self.backend = backend
        settings = Settings(publish_seconds=0.05, storage_timeout_seconds=PATIENCE)
        self.shared = Shared(MmapStorage(str(directory)), backend, settings, Recorder())
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
