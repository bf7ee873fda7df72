import contextlib
import logging
import os

import pytest

from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_storage_mmap import slots
from gunicorn_prometheus_storage_mmap.access import Access

RULES = {
    # What a former owner with 5 and its successor with 2 give together, by mode.
    "gauge_sum": {("archive", "gauge_sum"): {"g": 5}, ("worker-0", "gauge_sum"): {"g": 2}},
    "gauge_min": {("archive", "gauge_min"): {"g": 5}, ("worker-0", "gauge_min"): {"g": 2}},
    "gauge_max": {("archive", "gauge_max"): {"g": 5}, ("worker-0", "gauge_max"): {"g": 2}},
    "gauge_mostrecent": {
        ("archive", "gauge_mostrecent"): {"g": 5},
        ("worker-0", "gauge_mostrecent"): {"g": 2},
    },
    **{
        f"gauge_{mode}": {("worker-0", f"gauge_{mode}"): {"g": 2}}
        for mode in ("all", "liveall", "livesum", "livemin", "livemax", "livemostrecent")
    },
    **{
        kind: {("worker-0", kind): {"g": 7}} for kind in ("counter", "histogram", "summary")
    },
}  # fmt: skip


def keys(*names):
    return [key(name, name, {}, "help") for name in names]


def add(recorder, name, amount=1.0, kind="counter", stamp=None):
    cells = recorder.cells(kind, keys(name))
    with recorder.lock:
        cells.page.view[cells.at[0]] += amount
        if stamp is not None:
            cells.page.view[cells.at[0] + 1] = stamp


def test_values_are_on_the_disk_as_soon_as_they_are_stored(recorder, read):
    cells = recorder.cells("counter", keys("a", "b"))
    for at, value in zip(cells.at, (1.5, 2.5), strict=True):
        cells.page.view[at] = value
    assert read() == {("worker-0", "counter"): {"a": 1.5, "b": 2.5}}


def test_before_it_is_bound_a_recorder_records_in_memory(make_recorder, read):
    recorder = make_recorder(role=None)
    add(recorder, "a", 3)
    assert recorder.process == ""
    assert read() == {}
    assert recorder.bind("worker") == recorder.process == "worker-0"
    assert read() == {("worker-0", "counter"): {"a": 3}}


def test_cells_stay_valid_over_binding_growth_and_closing(make_recorder, read):
    recorder = make_recorder(role=None)
    cells = recorder.cells("counter", keys("a"))
    cells.page.view[cells.at[0]] += 1
    recorder.bind("worker")
    cells.page.view[cells.at[0]] += 1
    recorder.cells("counter", keys(*map(str, range(500))))
    cells.page.view[cells.at[0]] += 1
    assert read()["worker-0", "counter"]["a"] == 3
    recorder.close()
    cells.page.view[cells.at[0]] += 1
    assert read()["worker-0", "counter"]["a"] == 3


@pytest.mark.parametrize(("kind", "together"), RULES.items())
def test_a_successor_continues_counts_and_begins_gauges_anew(make_recorder, read, kind, together):
    former = make_recorder()
    add(former, "g", 5, kind, stamp=10.0)
    former.close()
    add(make_recorder(), "g", 2, kind, stamp=20.0)
    assert read() == together


@pytest.mark.parametrize(
    ("mode", "kept"), [("sum", 1 + 2 + 4), ("min", 1), ("max", 4), ("mostrecent", 4)]
)
def test_gauges_of_any_number_of_former_owners_are_kept_in_one_cell(
    make_recorder, read, mode, kept
):
    for i, value in enumerate((2, 1, 4)):
        owner = make_recorder()
        add(owner, "g", value, f"gauge_{mode}", stamp=10.0 + i)
        owner.close()
    make_recorder()
    assert read() == {("archive", f"gauge_{mode}"): {"g": kept}}


def test_the_files_are_bounded_by_the_processes_alive_at_once(make_recorder, directory):
    seen = set()
    for n in range(6):
        first, second = make_recorder(), make_recorder()
        for kind in ("counter", "gauge_sum", "gauge_all"):
            add(first, f"n{n}", 1, kind)
            add(second, "x", 1, kind)
        first.close()
        second.close()
        seen.add(frozenset(os.listdir(directory)))
    assert len(seen) <= 2


def test_keys_of_former_owners_are_known(make_recorder):
    former = make_recorder()
    add(former, "a")
    former.close()
    successor = make_recorder()
    assert keys("a")[0] in successor.keys("counter")


def test_a_corrupt_page_of_a_former_owner_is_set_aside_counted_and_logged(
    make_recorder, directory, read, caplog
):
    former = make_recorder()
    add(former, "a", 5)
    former.close()
    path = os.path.join(directory, "counter_worker-0.db")
    with open(path, "r+b") as file:
        file.write(b"\xff" * 100)
    with caplog.at_level(logging.INFO):
        successor = make_recorder()
        add(successor, "a", 2)
    assert read() == {("worker-0", "counter"): {"a": 2}}
    assert os.path.exists(f"{path}.corrupt")
    cells = successor.cells(
        "counter",
        [stored for stored in successor.keys("counter") if b"quarantined_total" in stored],
    )
    assert cells.page.view[cells.at[0]] == 1
    (line,) = [r.getMessage() for r in caplog.records]
    assert "corrupt page" in line
    assert path in line


@pytest.mark.parametrize("kind", ["counter", "gauge_sum", "gauge_all"])
@pytest.mark.parametrize("data", [bytes(4096), b"", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0"])
def test_whatever_a_former_owner_left_a_slot_can_be_taken(
    make_recorder, directory, read, kind, data
):
    with open(os.path.join(directory, f"{kind}_worker-0.db"), "wb") as file:
        file.write(data)
    successor = make_recorder()
    assert successor.process == "worker-0"
    add(successor, "a", 2, kind)
    assert read()["worker-0", kind] == {"a": 2}


def test_a_removed_page_is_written_again_with_its_values(recorder, directory, read):
    add(recorder, "a", 5)
    os.unlink(os.path.join(directory, "counter_worker-0.db"))
    assert read() == {}
    add(recorder, "a", 1)
    recorder.tick()
    assert read() == {("worker-0", "counter"): {"a": 6}}


def test_where_no_slot_can_be_had_counting_goes_on_in_memory_until_one_can(
    make_recorder, directory, read, caplog
):
    os.rmdir(directory)
    with caplog.at_level(logging.INFO):
        recorder = make_recorder(role=None)
        assert recorder.bind("worker") == ""
        for _ in range(3):
            add(recorder, "a")
            recorder.tick()
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"can't record into {directory}" in line
    os.mkdir(directory)
    recorder.tick()
    assert recorder.process == "worker-0"
    assert read() == {("worker-0", "counter"): {"a": 3}}


def test_a_slot_that_cannot_be_taken_over_is_let_go(make_recorder, directory, read, caplog):
    """Here because the archive can't be written; each attempt must not keep a slot for good."""
    former = make_recorder()
    add(former, "g", 5, "gauge_sum")
    former.close()
    archive = os.path.join(directory, "gauge_sum_archive.db")
    os.makedirs(os.path.join(archive, "in the way"))
    recorder = make_recorder()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        recorder.tick()
    assert len(os.listdir("/proc/self/fd")) == before
    assert [name for name in os.listdir(directory) if name.endswith(".slot")] == ["worker-0.slot"]
    assert len(caplog.records) == 1
    os.rmdir(os.path.join(archive, "in the way"))
    os.rmdir(archive)
    recorder.tick()
    add(recorder, "g", 2, "gauge_sum")
    assert read() == {("archive", "gauge_sum"): {"g": 5}, ("worker-0", "gauge_sum"): {"g": 2}}


def test_a_page_that_cannot_be_written_costs_only_its_kind_until_it_can(
    recorder, directory, read, caplog
):
    path = os.path.join(directory, "summary_worker-0.db")
    os.makedirs(os.path.join(path, "in the way"))
    for _ in range(3):
        add(recorder, "s", 1, "summary")
        add(recorder, "c", 1)
        recorder.tick()
    assert [record.getMessage() for record in caplog.records if path in record.getMessage()]
    assert len(caplog.records) <= 2
    os.rmdir(os.path.join(path, "in the way"))
    os.rmdir(path)
    recorder.tick()
    assert read() == {
        ("worker-0", "counter"): {"c": 3},
        ("worker-0", "summary"): {"s": 3},
    }


def test_binding_again_changes_the_slot_and_begins_anew(recorder, read):
    add(recorder, "a", 5)
    cells = recorder.cells("counter", keys("a"))
    assert recorder.bind("master") == "master-0"
    cells.page.view[cells.at[0]] += 1
    assert read() == {("worker-0", "counter"): {"a": 5}, ("master-0", "counter"): {"a": 1}}


def test_files_have_the_mode_of_the_access(make_recorder, directory):
    recorder = make_recorder(access=Access(0o640))
    add(recorder, "a")
    for name in os.listdir(directory):
        assert os.stat(os.path.join(directory, name)).st_mode & 0o777 == 0o640, name


def test_closing_twice_is_allowed_and_leaves_no_descriptors(make_recorder):
    before = len(os.listdir("/proc/self/fd"))
    recorder = make_recorder()
    add(recorder, "a")
    add(recorder, "g", 1, "gauge_all")
    recorder.close()
    recorder.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("lost", [False, True])
def test_greenlets_that_wait_for_the_directory_take_one_slot(
    directory, make_recorder, read, monkeypatch, lost
):
    """Where time.sleep is a greenlet's, our lock does not keep out the one that runs meanwhile."""
    recorder = make_recorder("worker" if lost else None)
    add(recorder, "a", 5)
    if lost:
        os.unlink(os.path.join(directory, "worker-0.slot"))
    other = contextlib.ExitStack()
    other.enter_context(slots.locked(directory, Access()))

    def sleep(_):
        other.close()
        recorder.tick()

    monkeypatch.setattr(slots.time, "sleep", sleep)
    if lost:
        recorder.tick()
    else:
        recorder.bind("worker")
    assert [name for name in os.listdir(directory) if name.endswith(".slot")] == ["worker-0.slot"]
    assert read() == {("worker-0", "counter"): {"a": 5}}
