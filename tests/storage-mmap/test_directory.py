import json
import logging
import os
import signal
import stat
import tempfile
import time

import pytest

from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_storage_mmap import directory as directories
from gunicorn_prometheus_storage_mmap import slots
from gunicorn_prometheus_storage_mmap.access import Access
from gunicorn_prometheus_storage_mmap.backend import MmapBackend
from gunicorn_prometheus_storage_mmap.slots import claim, locked

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing owners takes root")

#: Records into the directory until its standard input ends.
LIVES = "add(activate(sys.argv[2]), 'a', 5); say('ready'); sys.stdin.read()"


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Where private directories are made, instead of in the memory of the whole machine."""
    path = tmp_path / "base"
    path.mkdir()
    monkeypatch.setattr(directories, "_private_base", lambda: str(path))
    return path


@pytest.fixture
def prepare(base):
    def prepare_directory(path=None, inherited=None, uid=None, gid=None, **more):
        settings = Settings(multiproc_dir=None if path is None else str(path), **more)
        uid, gid = uid or os.geteuid(), gid or os.getegid()
        return directories.prepare(settings, uid=uid, gid=gid, inherited=inherited)

    return prepare_directory


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


#: Files of somebody else, who keeps a database where the pages are.
THEIRS = ["app.db", "app.db.new", "theirs.txt"]


def leave_files(path):
    """What an earlier server may have left, and files of somebody else."""
    path.mkdir(exist_ok=True)
    for name in ("counter_worker-0.db", "counter_1.db.corrupt", "gauge_all_2.db.new", *THEIRS):
        (path / name).write_bytes(b"")
    return path


def fill(path):
    return sorted(name for name in os.listdir(path) if name != "directory.lock")


# Private


def test_a_private_directory_is_for_its_owner_only_and_ends_with_the_server(prepare, base):
    made = prepare()
    assert os.path.dirname(made.path) == str(base)
    assert mode(made.path) == 0o700
    made.discard()
    assert os.listdir(base) == []


def test_each_server_gets_a_private_directory_of_its_own(prepare):
    assert prepare().path != prepare().path


def test_a_private_directory_is_kept_while_somebody_lives_in_it(prepare, start, base):
    made = prepare()
    script = start(LIVES, made.path, "worker")
    script.line()
    made.discard()
    assert os.path.isdir(made.path)
    script.kill()
    made.discard()
    assert os.listdir(base) == []


def test_discarding_twice_is_allowed(prepare):
    made = prepare()
    made.discard()
    made.discard()


def test_private_directories_are_in_memory_where_the_system_offers_that():
    base = directories._private_base()
    assert base == ("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())


def make_older(path, seconds=60):
    mark = os.path.join(path, "private")
    then = time.time() - seconds
    os.utime(mark, (then, then))


def test_directories_of_servers_that_were_killed_are_removed(prepare, base):
    abandoned = prepare()
    make_older(abandoned.path)
    new = prepare()
    assert os.listdir(base) == [os.path.basename(new.path)]


def test_a_directory_that_somebody_lives_in_is_not_abandoned(prepare, start):
    old = prepare()
    start(LIVES, old.path, "worker").line()
    make_older(old.path)
    prepare()
    assert os.path.isdir(old.path)


def test_a_directory_whose_server_is_just_starting_is_not_abandoned(prepare):
    old = prepare()
    prepare()
    assert os.path.isdir(old.path)


def test_directories_of_others_are_left_alone(prepare, base):
    (base / "gunicorn-prometheus-notes").mkdir()
    (base / "other").mkdir()
    prepare()
    assert {"gunicorn-prometheus-notes", "other"} < set(os.listdir(base))


@as_root
def test_abandoned_directories_of_other_users_are_left_alone(prepare, base):
    theirs = prepare()
    make_older(theirs.path)
    os.chown(theirs.path, NOBODY, NOBODY)
    prepare()
    assert os.path.isdir(theirs.path)


@as_root
def test_a_server_that_runs_as_root_makes_a_directory_for_its_workers(prepare):
    made = prepare(uid=NOBODY, gid=NOBODY)
    status = os.stat(made.path)
    assert (status.st_uid, status.st_gid) == (NOBODY, NOBODY)
    assert mode(made.path) == 0o700


# Configured


def test_a_configured_directory_is_made(prepare, tmp_path):
    path = tmp_path / "some" / "where"
    assert prepare(path).path == str(path)
    assert mode(path) & 0o027 == 0


def test_a_relative_directory_is_the_same_wherever_workers_change_to(
    prepare, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert prepare("pages").path == str(tmp_path / "pages")


def test_a_configured_directory_is_wiped_at_a_fresh_start_of_what_is_ours(prepare, tmp_path):
    path = leave_files(tmp_path / "pages")
    prepare(path)
    assert fill(path) == THEIRS


def test_a_configured_directory_is_kept_if_that_is_wished(prepare, tmp_path):
    path = leave_files(tmp_path / "pages")
    before = fill(path)
    prepare(path, cleanup_db_files=False)
    assert fill(path) == before


def test_a_configured_directory_is_not_wiped_while_somebody_lives_in_it(
    prepare, tmp_path, start, caplog
):
    path = leave_files(tmp_path / "pages")
    script = start(LIVES, path, "worker")
    script.line()
    before = fill(path)
    with caplog.at_level(logging.INFO):
        prepare(path)
    assert fill(path) == before
    (record,) = caplog.records
    assert "is in use by another server" in record.getMessage()
    script.kill()
    prepare(path)
    assert fill(path) == THEIRS


def test_a_configured_directory_is_not_removed(prepare, tmp_path):
    made = prepare(tmp_path / "pages")
    made.discard()
    assert os.path.isdir(made.path)


@pytest.mark.parametrize("name", ["pages", "gunicorn-prometheus-pages"])
@pytest.mark.parametrize("inherits", [True, False])
def test_a_directory_in_which_something_is_called_private_is_not_removed(
    prepare, tmp_path, name, inherits
):
    """As in /var/lib and /var/cache, where systemd makes it."""
    path = tmp_path / name
    (path / "private").mkdir(parents=True)
    (path / "app.db").write_text("precious")
    made = prepare(None if inherits else path, inherited=str(path) if inherits else None)
    made.discard()
    assert (path / "app.db").read_text() == "precious"


def test_a_file_that_is_called_private_makes_no_directory_ours(prepare, tmp_path):
    path = leave_files(tmp_path / "pages")
    (path / "private").write_text("notes")
    prepare(path).discard()
    assert fill(path) == sorted([*THEIRS, "private"])


def test_an_inherited_directory_is_taken_as_it_is(prepare, tmp_path):
    path = leave_files(tmp_path / "pages")
    before = fill(path)
    assert prepare(tmp_path / "other", inherited=str(path)).path == str(path)
    assert fill(path) == before
    assert not (tmp_path / "other").exists()


def test_an_inherited_private_directory_ends_with_the_server_that_took_it_over(prepare, base):
    inherited = prepare(inherited=prepare().path)
    inherited.discard()
    assert os.listdir(base) == []


def test_files_are_for_the_group_if_the_directory_is(prepare, tmp_path):
    for directory_mode, file_mode in ((0o700, 0o600), (0o750, 0o640), (0o755, 0o640)):
        path = tmp_path / oct(directory_mode)
        path.mkdir()
        path.chmod(directory_mode)
        prepare(path)
        assert directories.access_to(str(path)).mode == file_mode
        assert mode(path / "directory.lock") == file_mode


@as_root
def test_an_empty_configured_directory_is_handed_to_the_workers(prepare, tmp_path):
    path = tmp_path / "pages"
    prepare(path, uid=NOBODY, gid=NOBODY)
    assert os.stat(path).st_uid == NOBODY
    assert os.stat(path / "directory.lock").st_uid == NOBODY


@as_root
def test_a_configured_directory_with_files_keeps_its_owner(prepare, tmp_path):
    path = leave_files(tmp_path / "pages")
    prepare(path, uid=NOBODY, gid=NOBODY)
    assert os.stat(path).st_uid == os.geteuid()


# Unusable


@pytest.mark.parametrize("cleanup", [True, False])
@pytest.mark.parametrize("path", ["/proc/metrics", "/dev/null/metrics", "/sys/metrics"])
def test_a_directory_that_cannot_be_made_or_written_is_replaced_by_a_private_one(
    prepare, base, caplog, path, cleanup
):
    made = prepare(path, cleanup_db_files=cleanup)
    assert os.path.dirname(made.path) == str(base)
    (record,) = caplog.records
    assert f"PROMETHEUS_MULTIPROC_DIR={path}" in record.getMessage()
    assert record.levelno == logging.ERROR


@as_root
@pytest.mark.parametrize("cleanup", [True, False])
def test_a_directory_of_somebody_else_is_replaced_by_a_private_one(tmp_path, start, cleanup):
    tmp_path.chmod(0o755)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    script = start(
        """
import logging
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_storage_mmap.directory import prepare
logging.basicConfig(format="%(message)s", stream=sys.stdout)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
cleanup = sys.argv[2] == "True"
made = prepare(Settings(multiproc_dir=directory, cleanup_db_files=cleanup), uid=65534, gid=65534)
say(made.path)
made.discard()
""",
        theirs,
        cleanup,
    )
    assert f"PROMETHEUS_MULTIPROC_DIR={theirs} (the default): [Errno 13]" in script.line()
    assert os.path.basename(script.line()).startswith("gunicorn-prometheus-")
    assert script.end() == 0


def test_only_a_directory_can_be_recorded_into_or_read(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(NotADirectoryError):
        MmapBackend().open(Settings(), str(path))
    with pytest.raises(NotADirectoryError):
        MmapBackend().activate(str(path))
    assert MmapBackend().recorder() is None


# Ended processes


def test_the_slot_of_an_ended_worker_is_found_by_its_pid(prepare, tmp_path, start):
    made = prepare(tmp_path / "pages")
    scripts = [start(LIVES, made.path, "worker") for _ in range(2)]
    for script in scripts:
        script.line()
    numbers = set()
    for script in scripts:
        script.kill()
        number, noted = made.retire(script.pid)
        assert noted["pid"] == script.pid
        numbers.add(number)
    assert numbers == {"0", "1"}


def test_of_two_slots_with_a_pid_that_of_its_last_owner_is_meant(prepare, tmp_path):
    """A pid comes again, in another slot."""
    made = prepare(tmp_path / "pages")
    ours = {"pid": os.getpid(), "pids": slots.pid_namespace()}
    left = [
        {**ours, "pids": 1, "exit": "of another container"},
        {**ours, "pid": 1, "before": [{**ours, "exit": "long ago"}]},
        {**ours, "exit": "now"},
    ]
    for number, facts in enumerate(left):
        (tmp_path / f"pages/worker-{number}.slot").write_text(json.dumps(facts))
    assert made.retire(os.getpid()) == ("2", left[2])
    os.unlink(tmp_path / "pages/worker-2.slot")
    assert made.retire(os.getpid()) == ("1", left[1]["before"][0])
    os.unlink(tmp_path / "pages/worker-1.slot")
    assert made.retire(os.getpid()) is None


def test_retiring_tells_readers_when_a_worker_ended(prepare, tmp_path, start):
    made = prepare(tmp_path / "pages")
    script = start(LIVES, made.path, "worker")
    script.line()
    path = os.path.join(made.path, "worker-0.slot")
    os.utime(path, (1, 1))
    script.kill()
    before = time.time()
    made.retire(script.pid)
    assert before - 1 <= os.stat(path).st_mtime <= time.time() + 1


def test_who_never_owned_a_workers_slot_is_nobody(prepare, tmp_path):
    made = prepare(tmp_path / "pages")
    with locked(made.path, Access()):
        slot = claim(made.path, "master", Access())
    assert made.retire(os.getpid()) is None
    assert made.retire(1) is None
    slot.drop()


def test_retiring_in_a_directory_that_is_gone_is_nobody_too(prepare):
    made = prepare()
    made.discard()
    assert made.retire(os.getpid()) is None


def test_a_killed_master_is_no_reason_to_keep_its_directory(prepare, start, base):
    script = start("recorder = activate('master'); say('ready'); sys.stdin.read()", prepare().path)
    script.line()
    os.kill(script.pid, signal.SIGKILL)
    script.process.wait()
    (name,) = os.listdir(base)
    make_older(base / name)
    prepare()
    assert name not in os.listdir(base)
