"""Exemplars, and what Info and Enum say: whole, in files of their own, over several processes."""

import json
import os
import random

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gunicorn_prometheus_core.storage import EXEMPLAR, INFO, Remark, latest
from gunicorn_prometheus_storage_mmap import remarks
from gunicorn_prometheus_storage_mmap.reader import Reader

KEY = b'["x", "x_total", {}, "help"]'


@pytest.fixture
def reader(directory):
    reader = Reader(directory, None)
    yield reader
    reader.close()


@pytest.fixture
def said(reader):
    """What a reader finds: {kind: {key: remark}}. The same reader each time."""

    def read():
        by_kind = {}
        for one in reader.collect():
            if one.kind in (EXEMPLAR, INFO, "stateset"):
                by_kind.setdefault(one.kind, []).append(one.remarks())
        return {kind: latest(each) for kind, each in by_kind.items()}

    return read


@pytest.mark.parametrize("labels", [{}, {"a": "b"}, {'ü\n"': "\\🦄" * 60}])
def test_a_remark_comes_back_as_it_was_said(recorder, said, labels):
    remark = Remark(labels, 0.1, 1_700_000_000.123456)
    recorder.remark(EXEMPLAR, KEY, remark)
    assert said() == {EXEMPLAR: {KEY: remark}}
    assert recorder.remarked(EXEMPLAR, KEY) == remark


def test_random_remarks_over_several_processes(make_recorder, said):
    """Larger and smaller ones in turn, which need more room or less, and pages that grow."""
    chance = random.Random(7)
    recorders, expected = [make_recorder() for _ in range(3)], {}
    for when in range(1, 2000):
        key = b'["x%d"]' % chance.randrange(60)
        labels = {"trace_id": "f" * chance.randrange(500)}
        expected[key] = Remark(labels, chance.random(), float(when))
        chance.choice(recorders).remark(EXEMPLAR, key, expected[key])
        if when % 300 == 0:
            assert said() == {EXEMPLAR: expected}
    assert said() == {EXEMPLAR: expected}


def test_files_stay_bounded_when_the_same_series_are_spoken_of_again(recorder, directory):
    for when in range(20_000):
        recorder.remark(
            EXEMPLAR, b'["x%d"]' % (when % 10), Remark({"t": f"{when:032x}"}, 1.0, when)
        )
    size = os.path.getsize(os.path.join(directory, f"exemplar_worker-0{remarks.SUFFIX}"))
    assert size == 4096


def test_a_successor_goes_on_in_the_file_of_its_slot(make_recorder, said):
    first = make_recorder()
    first.remark(EXEMPLAR, KEY, Remark({"a": "old"}, 1.0, 5.0))
    first.remark(EXEMPLAR, b'["y"]', Remark({"a": "kept"}, 1.0, 5.0))
    first.close()
    second = make_recorder(role=None)
    second.remark(EXEMPLAR, KEY, Remark({"a": "new"}, 2.0, 6.0))  # before it has a slot
    assert second.bind("worker") == "worker-0"
    labels = {key: dict(one.labels) for key, one in said()[EXEMPLAR].items()}
    assert labels == {KEY: {"a": "new"}, b'["y"]': {"a": "kept"}}


def test_a_forked_child_says_its_own(directory, run, said):
    run(
        """
from gunicorn_prometheus_core.storage import Remark
recorder = activate()
recorder.remark("info", b'["p"]', Remark({"who": "parent"}, 1.0, 1.0))
def child():
    assert recorder.remarked("info", b'["p"]') is None
    recorder.remark("info", b'["c"]', Remark({"who": "child"}, 1.0, 2.0))
    say(recorder.process)
assert in_child(child) == 0
recorder.remark("info", b'["p"]', Remark({"who": "parent still"}, 1.0, 3.0))
""",
        directory,
    )
    found = {key: one.labels["who"] for key, one in said()["info"].items()}
    assert found == {b'["p"]': "parent still", b'["c"]': "child"}
    assert sorted(name for name in os.listdir(directory) if name.endswith(remarks.SUFFIX)) == [
        "info_process-0.remarks",
        "info_worker-0.remarks",
    ]


WRITE_FOREVER = """
from gunicorn_prometheus_core.storage import Remark
recorder = activate()
number = 0
recorder.remark("exemplar", b'["x"]', Remark({"n": "0" * 20_000}, 0.0, 0.0))
say("ready")
while True:
    number += 1
    digit = str(number % 10)
    labels = {"n": digit * (20_000 + number % 60)}
    recorder.remark("exemplar", b'["x"]', Remark(labels, float(number % 10), float(number)))
"""


@pytest.mark.long
def test_a_reader_never_sees_parts_of_two_remarks(directory, start, reader):
    """And a writer killed at any moment leaves a whole one, or none.

    They are much larger than exemplars are, so that reading takes long enough to be disturbed.
    """
    for _ in range(3):
        script = start(WRITE_FOREVER, directory)
        script.line()
        (reading,) = [one.remarks for one in reader.collect() if one.kind == EXEMPLAR]
        seen = set()
        while len(seen) < 200:
            seen.update(map(checked, reading().values()))
        script.kill()
        for remark in reading().values():
            checked(remark)


def checked(remark):
    """The number of a remark that is not mixed."""
    number, labels = int(remark.time), remark.labels["n"]
    assert remark.value == number % 10
    assert labels == str(number % 10) * (20_000 + number % 60)
    return number


def test_the_checksum_tells_a_mixed_remark_from_a_whole_one():
    one = remarks.packed(Remark({"trace_id": "a" * 32}, 1.0, 1.0))
    two = remarks.packed(Remark({"trace_id": "b" * 32}, 2.0, 2.0))
    assert len(one) == len(two)
    for cut in range(len(one) + 1):
        mixed = two[:cut] + one[cut:]
        read = remarks.unpacked(mixed)
        assert (read is None) == (mixed not in (one, two))
    assert remarks.unpacked(b"") is remarks.unpacked(bytes(200)) is None


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_left_out_and_never_an_error(recorder, directory, said, caplog, seed):
    chance = random.Random(seed)
    recorder.remark(EXEMPLAR, KEY, Remark({"a": "b"}, 1.0, 1.0))
    recorder.remark(INFO, KEY, Remark({"a": "b"}, 1.0, 1.0))
    said()
    path = os.path.join(directory, "exemplar_worker-0.remarks")
    with open(path, "r+b") as file:
        if seed % 2:
            file.truncate(chance.randrange(8))
        else:
            file.seek(chance.randrange(60))
            file.write(chance.randbytes(chance.randrange(1, 200)))
    assert said()[INFO] == {KEY: Remark({"a": "b"}, 1.0, 1.0)}
    said()
    recorder.remark(EXEMPLAR, KEY, Remark({"a": "c"}, 1.0, 2.0))  # and no harm to who records
    assert len([one for one in caplog.records if "is left out" in one.message]) <= 1


def test_files_that_vanish_come_back_with_what_was_said(recorder, directory, said):
    recorder.remark(INFO, KEY, Remark({"a": "b"}, 1.0, 1.0))
    os.unlink(os.path.join(directory, "info_worker-0.remarks"))
    assert said() == {}
    recorder.tick()
    assert said() == {INFO: {KEY: Remark({"a": "b"}, 1.0, 1.0)}}


EVERYTHING = """
from prometheus_client import Counter, Enum, Gauge, Histogram, Info
recorder = activate()
jobs = Counter("jobs", "help", ["q"])
took = Histogram("took", "help", buckets=[1, 2])
jobs.labels("x").inc(2, exemplar={"trace_id": "abc"} if sys.argv[2] == "more" else None)
took.observe(1.5, exemplar={"trace_id": "def"} if sys.argv[2] == "more" else None)
if sys.argv[2] == "more":
    Info("build", "help").info({"version": "1"})
    Enum("phase", "help", states=["a", "b"]).state("b")
    jobs.labels("y").inc(0)
    jobs.remove("y")
"""


def test_stock_readers_of_the_directory_are_unharmed(tmp_path, run):
    texts = []
    for more in ("more", "less"):
        path = tmp_path / more
        path.mkdir()
        run(EVERYTHING, path, more)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(path))
        text = generate_latest(registry).decode()
        texts.append([line for line in text.splitlines() if 'q="y"' not in line])
    assert texts[0] == texts[1]
    assert 'jobs_total{q="x"} 2.0' in texts[0]


def test_keys_of_remarks_are_those_of_the_samples(directory, run, said, read):
    run(EVERYTHING, directory, "more")
    exemplars = {json.loads(key)[1]: one for key, one in said()[EXEMPLAR].items()}
    assert exemplars["jobs_total"].labels == {"trace_id": "abc"}
    assert exemplars["jobs_total"].value == 2
    assert exemplars["took_bucket"].labels == {"trace_id": "def"}
    assert exemplars["took_bucket"].value == 1.5
