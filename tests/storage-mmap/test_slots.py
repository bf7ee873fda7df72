import fcntl
import os
import signal

import pytest

from gunicorn_prometheus_storage_mmap import slots
from gunicorn_prometheus_storage_mmap.access import Access

#: Owns a slot, says its name and waits for its standard input to end.
OWNER = """
from gunicorn_prometheus_storage_mmap import slots
from gunicorn_prometheus_storage_mmap.access import Access
with slots.locked(directory, Access()):
    slot = slots.claim(directory, "worker", Access())
say(slot.name)
sys.stdin.read()
"""


@pytest.fixture
def claimed():
    """The slots that this process owns."""
    slots = []
    yield slots
    for slot in slots:
        slot.drop()


@pytest.fixture
def claim(directory, claimed):
    def claim_slot(role="worker"):
        with slots.locked(directory, Access()):
            claimed.append(slots.claim(directory, role, Access()))
        return claimed[-1]

    return claim_slot


@pytest.fixture
def owned(directory):
    def names():
        found = []
        with slots.locked(directory, Access()):
            for name in slots.names(directory):
                fd = os.open(os.path.join(directory, name), os.O_RDONLY)
                if slots.is_owned(fd):
                    found.append(name.removesuffix(slots.SUFFIX))
                os.close(fd)
        return found

    return names


def test_the_lowest_free_number_is_taken(claim, claimed, owned):
    assert [claim().name for _ in range(3)] == ["worker-0", "worker-1", "worker-2"]
    claimed.pop(1).drop()
    assert owned() == ["worker-0", "worker-2"]
    assert claim().name == "worker-1"
    assert claim().name == "worker-3"


def test_roles_are_counted_apart(claim):
    assert [claim(role).name for role in ("worker", "master", "worker")] == [
        "worker-0",
        "master-0",
        "worker-1",
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_slot_is_free_when_its_owner_is_killed(directory, start, owned, claim, number):
    owner = start(OWNER, directory)
    assert owner.line() == "worker-0"
    assert owned() == ["worker-0"]
    os.kill(owner.pid, number)
    owner.process.wait()
    assert owned() == []
    assert claim().name == "worker-0"


def test_many_processes_that_claim_at_once_get_a_slot_each(directory, start):
    gated = "sys.stdin.readline()\n" + OWNER
    owners = [start(gated, directory) for _ in range(12)]
    for owner in owners:
        owner.tell()
    assert sorted(int(owner.line().removeprefix("worker-")) for owner in owners) == list(range(12))


def test_processes_that_come_and_go_never_share_a_slot(directory, start):
    """Each writes its pid beside its slot, looks whether it stays there, and lets go."""
    turns = """
from gunicorn_prometheus_storage_mmap import slots
from gunicorn_prometheus_storage_mmap.access import Access
highest = 0
for _ in range(60):
    with slots.locked(directory, Access()):
        slot = slots.claim(directory, "worker", Access())
    fd = os.open(os.path.join(directory, slot.name), os.O_RDWR | os.O_CREAT)
    mine = str(os.getpid()).encode().ljust(20)
    for _ in range(20):
        os.pwrite(fd, mine, 0)
        os.sched_yield()
        assert os.pread(fd, 20, 0) == mine, "two owners"
    os.close(fd)
    slot.drop()
    highest = max(highest, int(slot.number))
say(highest)
"""
    processes = [start(turns, directory) for _ in range(4)]
    assert all(0 <= int(process.line()) < 4 for process in processes)


def test_an_owner_leaves_facts_that_outlive_it(directory, start):
    noted = start(OWNER + "slot.note(exit='max_requests')\n", directory)
    noted.line()
    fd = os.open(os.path.join(directory, "worker-0.slot"), os.O_RDONLY)
    assert slots.facts(fd)["pid"] == noted.pid
    assert slots.facts(fd)["started"] == pytest.approx(os.stat(fd).st_mtime, abs=60)
    assert noted.end() == 0
    assert slots.facts(fd)["exit"] == "max_requests"
    os.close(fd)


def test_how_the_last_owners_ended_is_remembered_and_nothing_else(directory, claim, claimed):
    """The master may look at an owner's end when its successor is there already."""
    claim().note(exit="max_requests", more="x" * 500)
    fd = os.open(os.path.join(directory, "worker-0.slot"), os.O_RDONLY)
    assert set(slots.facts(fd)) == {"pid", "pids", "started", "before", "exit", "more"}
    for _ in range(20):
        claimed.pop().drop()
        assert claim().name == "worker-0"
    facts = slots.facts(fd)
    assert set(facts) == {"pid", "pids", "started", "before"}
    assert facts["before"] == [{"pid": os.getpid(), "pids": slots.pid_namespace()}] * 8
    assert slots.left_by(os.getpid(), facts) is facts
    assert slots.left_by(1, facts) is None
    # Of another container, with which the directory is shared.
    assert slots.left_by(os.getpid(), {**facts, "pids": 1}) is facts["before"][0]
    assert slots.left_by(os.getpid(), {**facts, "pids": 1, "before": []}) is None
    os.close(fd)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b"null", bytes(1024)])
def test_unreadable_facts_are_none(directory, text):
    path = os.path.join(directory, "worker-0.slot")
    with open(path, "wb") as file:
        file.write(text)
    fd = os.open(path, os.O_RDONLY)
    assert slots.facts(fd) == {}
    os.close(fd)


def test_a_slot_is_not_inherited_by_programs_that_are_run(directory, start, owned):
    owner = start(
        OWNER.replace(
            "say(slot.name)",
            "import subprocess\n"
            "sleeper = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
            "say(slot.name, sleeper.pid)",
        ),
        directory,
    )
    name, sleeper = owner.line().split()
    try:
        assert owned() == [name]
        owner.kill()
        os.kill(int(sleeper), 0)  # it lives on
        assert owned() == []
    finally:
        os.kill(int(sleeper), signal.SIGKILL)


def test_a_directory_whose_lock_somebody_sits_on_is_an_error_after_a_while(directory, monkeypatch):
    monkeypatch.setattr(slots, "_PATIENCE", 0.05)
    fd = os.open(os.path.join(directory, slots.LOCK_NAME), os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with (
        pytest.raises(TimeoutError, match="held by another process"),
        slots.locked(directory, Access()),
    ):
        pass
    os.close(fd)
    with slots.locked(directory, Access()):
        pass


def test_readers_share_the_lock(directory):
    with slots.locked(directory, Access()):
        pass
    with slots.locked(directory, None, shared=True), slots.locked(directory, None, shared=True):
        assert slots.names(directory) == []


def test_looking_leaves_no_descriptors_open(directory, claim, owned):
    claim()
    owned()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with slots.locked(directory, Access()):
            assert slots.anybody(directory)
    assert len(os.listdir("/proc/self/fd")) == before
