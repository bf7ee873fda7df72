"""On a file system that really is full."""

import contextlib
import json
import os
import subprocess

import pytest

from gunicorn_prometheus_storage_mmap.reader import Reader

#: Fills the file system with pages of series: "s0", "s1"...; each counts 1, then all 1 more.
FILL = """
import logging
logging.basicConfig(format="%(message)s", level=logging.INFO)
recorder = activate()
cells = [recorder.cells("counter", [key(f"s{n}", f"s{n}", {}, "help")]) for n in range(3000)]
for _ in range(2):
    for each in cells:
        each.page.view[each.at[0]] += 1
"""
SHOW = """
dropped = recorder.cells("counter", [k for k in recorder.keys("counter") if b"dropped" in k])
say(json.dumps({
    "values": [each.page.view[each.at[0]] for each in cells],
    "dropped": dropped.page.view[dropped.at[0]],
    "stored": sum(each.page is dropped.page for each in cells),
}))
"""


@pytest.fixture
def small(tmp_path):
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0:
        reason = "mounting a small tmpfs takes root"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def read_small(small, contents_of):
    def collect():
        reader = Reader(str(small), None)
        try:
            return contents_of(reader.collect())
        finally:
            reader.close()

    return collect


def fill_up(path):
    """Leave not a block free."""
    fd = os.open(path / "ballast", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, bytes(4096)):
            pass
    os.close(fd)
    assert os.statvfs(path).f_bavail == 0


def test_series_that_do_not_fit_are_counted_in_memory_dropped_and_logged_once(small, run):
    done = run(FILL + SHOW, small)
    shown = json.loads(done.stdout)
    assert shown["values"] == [2.0] * 3000
    assert 0 < shown["stored"] < 3000
    assert shown["dropped"] == 3000 - shown["stored"]
    (line,) = done.stderr.splitlines()
    assert "no room for more series" in line
    assert "gunicorn_exporter_series_dropped_total" in line


def test_series_that_fit_are_read_by_everybody(small, run, read_small):
    shown = json.loads(run(FILL + SHOW, small).stdout)
    assert read_small() == {("worker-0", "counter"): {f"s{n}": 2.0 for n in range(shown["stored"])}}


def test_a_dropped_series_is_counted_once_however_often_it_is_asked_for(small, run):
    asked_again = (
        'for n in range(3000): recorder.cells("counter", [key(f"s{n}", f"s{n}", {}, "help")])\n'
    )
    shown = json.loads(run(FILL + asked_again + SHOW, small).stdout)
    assert shown["dropped"] == 3000 - shown["stored"]


def test_cells_work_on_while_others_fill_the_disk(small, run, start, read_small):
    script = start(
        "recorder = activate()\n"
        "add(recorder, 'a'); say('ready')\n"
        "for line in sys.stdin: add(recorder, 'a'); recorder.tick(); say('stored')\n",
        small,
    )
    script.line()
    fill_up(small)
    for _ in range(3):
        script.tell("more")
        script.line()
    assert read_small() == {("worker-0", "counter"): {"a": 4}}
    assert script.end() == 0


def test_where_not_even_a_slot_fits_counting_goes_on_in_memory_until_it_does(
    small, start, read_small
):
    fill_up(small)
    script = start(
        "import logging\n"
        "logging.basicConfig(format='%(message)s', level=logging.INFO, stream=sys.stdout)\n"
        "recorder = activate()\n"
        "say('process', repr(recorder.process))\n"
        "for line in sys.stdin:\n"
        "    add(recorder, 'a'); recorder.tick(); say('process', repr(recorder.process))\n",
        small,
    )
    assert "No space left" in script.line()
    assert script.line() == "process ''"
    script.tell()
    assert script.line() == "process ''"
    os.unlink(small / "ballast")
    script.tell()
    assert script.line() == "process 'worker-0'"
    assert read_small() == {("worker-0", "counter"): {"a": 2}}
    assert script.end() == 0


def test_a_failed_start_leaves_no_half_written_pages(small, run):
    fill_up(small)
    run("activate()", small)
    assert [name for name in os.listdir(small) if name.endswith((".new", ".db"))] == []


def test_a_process_that_takes_over_on_a_full_disk_keeps_what_was_counted(small, run, read_small):
    run("add(activate(), 'a', 5)", small)
    fill_up(small)
    run("recorder = activate(); add(recorder, 'a', 2); recorder.tick()", small)
    assert read_small()["worker-0", "counter"]["a"] >= 5


def test_what_is_said_on_a_full_disk_is_kept_and_shown_when_there_is_room(small, start):
    script = start(
        "import logging\n"
        "from gunicorn_prometheus_core.storage import Remark\n"
        "logging.basicConfig(format='%(message)s', level=logging.INFO, stream=sys.stdout)\n"
        "recorder = activate()\n"
        "said = 0\n"
        "recorder.remark('info', b'[\"first\"]', Remark({'v': 'x'}, 1.0, 1.0))\n"
        "say('ready')\n"
        "for line in sys.stdin:\n"
        "    for said in range(said, said + 50):\n"
        "        recorder.remark('info', b'[\"%d\"]' % said, Remark({'v': 'x'}, 1.0, 1.0))\n"
        "    recorder.tick(); say('said')\n",
        small,
    )
    script.line()
    fill_up(small)
    script.tell()
    assert script.line().startswith("can't write the file of infos in ")
    assert script.line() == "said"
    script.tell()
    assert script.line() == "said"  # and nothing more in the log
    reader = Reader(str(small), None)
    (before,) = [one.remarks() for one in reader.collect() if one.kind == "info"]
    assert b'["first"]' in before
    os.unlink(small / "ballast")
    script.tell()
    assert script.line() == "said"
    (after,) = [one.remarks() for one in reader.collect() if one.kind == "info"]
    reader.close()
    assert len(after) > 145
    assert script.end() == 0
