import logging
import os
import random
import subprocess

import pytest
from prometheus_client.mmap_dict import MmapedDict

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_storage_mmap.access import Access
from gunicorn_prometheus_storage_mmap.backend import MmapBackend
from gunicorn_prometheus_storage_mmap.reader import Reader, parse_name


def add(recorder, name, amount=1.0, kind="counter"):
    cells = recorder.cells(kind, [key(name, name, {}, "help")])
    cells.page.view[cells.at[0]] += amount


class Counting:
    """A reader, with what it found and how often it found a page corrupt."""

    def __init__(self, directory, access, contents_of):
        self.quarantined = 0
        self.reader = Reader(directory, access, self._count)
        self._contents = contents_of

    def _count(self):
        self.quarantined += 1

    def read(self):
        return self._contents(self.reader.collect())


@pytest.fixture
def make_reader(directory, contents_of):
    made = []

    def make(access=Access(), path=directory):  # noqa: B008  frozen
        made.append(Counting(str(path), access, contents_of))
        return made[-1]

    yield make
    for each in made:
        each.reader.close()


@pytest.fixture
def reader(make_reader):
    return make_reader()


@pytest.fixture
def page_path(directory):
    return os.path.join(directory, "counter_worker-0.db")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("counter_1.db", ("counter", "1")),
        ("histogram_worker-0.db", ("histogram", "worker-0")),
        ("summary_process-12.db", ("summary", "process-12")),
        ("gauge_all_1.db", ("gauge_all", "1")),
        ("gauge_livemostrecent_worker-3.db", ("gauge_livemostrecent", "worker-3")),
        ("gauge_sum_archive.db", ("gauge_sum", "archive")),
        ("gauge_1.db", None),
        ("gauge_average_1.db", None),
        ("counter_1_2.db", None),
        ("counter.db", None),
        ("info_1.db", None),
        ("counter_1.db.new", None),
        ("counter_1.db.corrupt", None),
        ("worker-0.slot", None),
        (".db", None),
        ("", None),
    ],
)
def test_kind_and_process_are_told_by_the_file_name(name, expected):
    assert parse_name(name) == expected


def test_what_was_given_stays_valid_while_a_page_grows(recorder, reader):
    add(recorder, "a", 1)
    (first,) = reader.reader.collect()
    add(recorder, "b", 1)
    (second,) = reader.reader.collect()
    assert second.keys is first.keys
    assert second.at is first.at
    known = list(second.keys)
    for n in range(500):
        add(recorder, f"n{n}", n)
    (third,) = reader.reader.collect()
    assert third.keys[: len(known)] == known
    # Another thread may still be at the former ones: every key of theirs has a value there.
    assert second.keys == known
    assert second.at[-1] < len(second.values) < third.at[-1]
    assert reader.read()["worker-0", "counter"] == {"a": 1, "b": 1} | {
        f"n{n}": n for n in range(500)
    }


def test_values_are_seen_as_they_change(recorder, reader):
    add(recorder, "a", 1)
    (snapshot,) = reader.reader.collect()
    at = snapshot.at[-1]
    add(recorder, "a", 5)
    assert snapshot.values[at] == 6


def test_a_page_begun_anew_is_given_as_new_objects(make_recorder, reader):
    first = make_recorder()
    add(first, "a", 1)
    (before,) = reader.reader.collect()
    first.close()
    add(make_recorder(), "a", 2)
    (after,) = reader.reader.collect()
    assert after.keys is not before.keys
    assert reader.read() == {("worker-0", "counter"): {"a": 3}}


def test_pages_share_the_objects_of_equal_keys(make_recorder, reader):
    for _ in range(3):
        add(make_recorder(), "a")
    first, *others = (snapshot.keys[-1] for snapshot in reader.reader.collect())
    assert all(other is first for other in others)


def test_files_of_prometheus_client_are_read_as_they_are(directory, reader):
    stock = MmapedDict(os.path.join(directory, "counter_4711.db"))
    stock.write_value(key("a", "a", {}, "help").decode(), 7, 0)
    (snapshot,) = reader.reader.collect()
    assert (snapshot.process.name, snapshot.process.role) == ("4711", "other")
    assert snapshot.process.alive is None
    assert reader.read() == {("4711", "counter"): {"a": 7}}
    assert reader.reader.processes() == []
    stock.write_value(key("b", "b", {}, "help").decode(), 8, 0)
    assert reader.read() == {("4711", "counter"): {"a": 7, "b": 8}}
    stock.close()


def test_a_file_that_was_only_just_created_is_not_corrupt(page_path, reader):
    with open(page_path, "wb") as file:
        assert reader.read() == {}
        os.truncate(file.fileno(), 4096)
        assert reader.read() == {}
    stock = MmapedDict(page_path)
    stock.write_value(key("a", "a", {}, "help").decode(), 7, 0)
    stock.close()
    assert reader.read() == {("worker-0", "counter"): {"a": 7}}
    assert reader.quarantined == 0


def test_the_owners_of_slots(directory, make_recorder, start, reader):
    alive = make_recorder("master")
    add(alive, "a")
    killed = start("add(activate(), 'a'); say('ready'); sys.stdin.read()", directory)
    killed.line()
    reader.read()
    by_name = {process.name: process for process in reader.reader.processes()}
    assert by_name.keys() == {"master-0", "worker-0"}
    worker = by_name["worker-0"]
    assert (worker.role, worker.number, worker.alive, worker.pid) == (
        "worker",
        "0",
        True,
        killed.pid,
    )
    assert worker.ended is None
    killed.kill()
    reader.read()
    by_name = {process.name: process for process in reader.reader.processes()}
    assert by_name["master-0"].alive
    assert not by_name["worker-0"].alive
    assert by_name["worker-0"].ended >= by_name["worker-0"].started - 1


def test_no_directory_is_a_storage_that_is_unavailable(make_reader, tmp_path):
    with pytest.raises(StorageUnavailable, match="missing"):
        make_reader(path=tmp_path / "missing").read()


@pytest.mark.parametrize("access", [Access(), None])
def test_what_cannot_be_read_is_left_out_and_logged_once(
    directory, recorder, make_reader, caplog, access
):
    add(recorder, "a")
    os.mkdir(os.path.join(directory, "counter_1.db"))
    reader = make_reader(access)
    for _ in range(3):
        assert reader.read() == {("worker-0", "counter"): {"a": 1}}
    (record,) = caplog.records
    assert "counter_1.db" in record.getMessage()


def test_closing_leaves_no_descriptors_open(directory, make_recorder, contents_of):
    before = open_files()
    reader = Counting(directory, Access(), contents_of)
    recorder = make_recorder()
    add(recorder, "a")
    reader.read()
    reader.read()
    reader.reader.close()
    recorder.close()
    assert [path for path in open_files() if path not in before] == []


def open_files():
    """What our descriptors lead to, but the one that is open for looking."""
    paths = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return [os.readlink(path) for path in paths if os.path.islink(path)]


def test_counts_never_go_down_while_processes_come_and_go(directory, start, reader):
    """Successors take a slot over while it is read as fast as possible."""
    script = start(
        """
for n in range(800):
    recorder = __import__("gunicorn_prometheus_storage_mmap.recorder").recorder
    one = recorder.Recorder(directory, recorder.Access())
    one.bind("worker")
    add(one, "a")
    add(one, "b")
    add(one, "c", kind="gauge_sum")
    one.close()
    if n == 0: say("begun")
say("done")
sys.stdin.read()
""",
        directory,
    )
    script.line()
    last = {"a": 0, "b": 0, "c": 0}
    while last["b"] < 800:
        found = reader.read()
        now = dict(found["worker-0", "counter"])
        # The gauges of the dead are in the archive, or still in the page: never in both or neither.
        kept = [cells for (_, kind), cells in found.items() if kind == "gauge_sum"]
        now["c"] = sum(cells["c"] for cells in kept)
        assert all(now[name] >= last[name] for name in last)
        assert now["c"] <= now["a"] + 1
        last = now
    assert script.line() == "done"
    assert reader.quarantined == 0


# Corruption


def truncate_to_nothing(path):
    os.truncate(path, 0)


def truncate_within_the_entries(path):
    os.truncate(path, 24)


def zero(path):
    overwrite(path, bytes(os.path.getsize(path)))


def scribble(path):
    overwrite(path, random.Random(1).randbytes(os.path.getsize(path)))


def shorten_the_header(path):
    overwrite(path, b"\x08\0\0\0\0\0\0\0")


def overwrite(path, data):
    with open(path, "r+b") as file:
        file.write(data)


DAMAGES = [
    truncate_to_nothing,
    truncate_within_the_entries,
    zero,
    scribble,
    shorten_the_header,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_page_that_becomes_corrupt_is_set_aside_and_restored(
    make_recorder, reader, read, page_path, caplog, damage
):
    recorder, other = make_recorder(), make_recorder()
    add(recorder, "a", 5)
    add(other, "a", 7)
    before = reader.read()
    recorder.close()
    damage(page_path)
    with caplog.at_level(logging.INFO):
        # No counter goes down, not even in the scrape that finds it.
        assert [reader.read() for _ in range(3)] == [before] * 3
    assert read() == before
    assert os.path.exists(f"{page_path}.corrupt")
    assert reader.quarantined == 1
    (record,) = caplog.records
    assert page_path in record.getMessage()


@pytest.mark.parametrize("damage", DAMAGES)
def test_who_records_into_a_corrupt_page_goes_on_in_the_restored_one(
    recorder, reader, read, page_path, damage
):
    add(recorder, "a", 5)
    cells = recorder.cells("counter", [key("a", "a", {}, "help")])
    reader.read()
    damage(page_path)
    reader.read()
    recorder.tick()
    cells.page.view[cells.at[0]] += 2
    add(recorder, "b", 1)
    assert reader.read() == read() == {("worker-0", "counter"): {"a": 7, "b": 1}}
    assert reader.quarantined == 1


@pytest.mark.parametrize(
    "damage", [truncate_to_nothing, truncate_within_the_entries, zero, scribble]
)
def test_a_page_found_corrupt_is_set_aside_and_written_again(
    recorder, reader, read, page_path, damage
):
    """Nobody knows a good state of it; who records into it begins a new one."""
    add(recorder, "a", 5)
    damage(page_path)
    assert reader.read() == {}
    assert not os.path.exists(page_path)
    recorder.tick()
    add(recorder, "a", 2)
    assert reader.read() == {("worker-0", "counter"): {"a": 2}}
    assert reader.quarantined == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reader_without_access_changes_nothing_and_gives_the_last_good_state(
    make_recorder, directory, make_reader, page_path, caplog, damage
):
    recorder, other = make_recorder(), make_recorder()
    add(recorder, "a", 5)
    add(other, "a", 7)
    reader = make_reader(None)
    before = reader.read()
    recorder.close()
    damage(page_path)
    files = sorted(os.listdir(directory))
    for n in range(3):
        add(other, "a", 1)
        assert reader.read() == before | {("worker-1", "counter"): {"a": 8 + n}}
    assert sorted(os.listdir(directory)) == files
    assert reader.quarantined == 1
    (record,) = caplog.records
    assert page_path in record.getMessage()
    # Once the slot has a new owner there is a page again.
    os.unlink(page_path)
    add(make_recorder(), "a", 1)
    assert reader.read()["worker-0", "counter"] == {"a": 1}


def test_a_corrupt_page_that_is_equal_to_one_before_is_found_too(directory, reader):
    for n in range(3):
        with open(os.path.join(directory, f"counter_{n}.db"), "wb") as file:
            file.write(b"\x38\0\0\0\0\0\0\0".ljust(56, b"\0"))
    assert reader.read() == {}
    assert reader.quarantined == 3


# As a storage


def test_a_storage_of_a_directory_that_is_read_only_leaves_it_alone(
    tmp_path, make_recorder, contents_of
):
    if os.geteuid() != 0:
        reason = "a read-only file system takes root"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    target = tmp_path / "read-only"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "read-only", target], check=True)
    try:
        for number, data in (("1", b"\xff" * 64), ("2", None)):
            path = target / f"counter_{number}.db"
            stock = MmapedDict(str(path))
            stock.write_value(key("a", "a", {}, "help").decode(), 7, 0)
            stock.close()
            if data:
                path.write_bytes(data)
        subprocess.run(["mount", "-o", "remount,ro", target], check=True)
        storage = MmapBackend().open(Settings(), str(target))
        for _ in range(2):
            assert contents_of(storage.collect()) == {("2", "counter"): {"a": 7}}
        storage.close()
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)


def test_publishing_and_retiring_need_nothing(directory, recorder, contents_of):
    add(recorder, "a", 5)
    storage = MmapBackend().open(Settings(), directory)
    snapshots = storage.collect()
    storage.publish(snapshots)
    storage.publish(snapshots)
    storage.retire("")
    assert contents_of(storage.collect()) == {("worker-0", "counter"): {"a": 5}}
    assert [process.name for process in storage.processes()] == ["worker-0"]
    storage.close()


def test_a_quarantine_is_counted_where_recording_is_active(directory, run):
    run(
        """
from gunicorn_prometheus_core.settings import Settings
recorder = activate("exporter")
with open(os.path.join(directory, "counter_1.db"), "wb") as file:
    file.write(b"\\xff" * 64)
storage = MmapBackend().open(Settings(), directory)
storage.collect()
(name,) = [k for k in recorder.keys("counter") if b"quarantined_total" in k]
cells = recorder.cells("counter", [name])
assert cells.page.view[cells.at[0]] == 1
""",
        directory,
    )


def test_a_page_that_grows_while_it_is_looked_at_is_not_corrupt(
    recorder, reader, page_path, monkeypatch
):
    add(recorder, "first")
    fstat, grown = os.fstat, []

    def slow_fstat(fd):
        """The size as it was before the page grew."""
        status = fstat(fd)
        if not grown and os.path.samestat(status, os.stat(page_path)):
            grown.append(status.st_size)
            while fstat(fd).st_size == status.st_size:
                add(recorder, f"more_{len(grown)}")
                grown.append(0)
        return status

    monkeypatch.setattr(os, "fstat", slow_fstat)
    found = reader.read()
    assert len(grown) > 10
    assert reader.quarantined == 0
    assert sum(len(cells) for cells in found.values()) == len(grown)
    add(recorder, "first")
    assert reader.read() != found
    assert reader.quarantined == 0
