"""Real processes, files and locks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from gunicorn_prometheus_storage_mmap.access import Access
from gunicorn_prometheus_storage_mmap.reader import Reader
from gunicorn_prometheus_storage_mmap.recorder import Recorder

#: What the scripts of tests begin with. They get the directory as their first argument.
PRELUDE = """
import json, os, signal, sys, threading, time
from gunicorn_prometheus_core.recording import key
from gunicorn_prometheus_storage_mmap.backend import MmapBackend

directory = sys.argv[1]

def say(*words):
    print(*words, flush=True)

def activate(role="worker"):
    recorder = MmapBackend().activate(directory)
    if role:
        recorder.bind(role)
    return recorder

def add(recorder, name, amount=1, kind="counter"):
    cells = recorder.cells(kind, [key(name, name, {}, "help")])
    with recorder.lock:
        cells.page.view[cells.at[0]] += amount

def in_child(function):
    "Run it in a forked child that then ends by itself; gives the child's exit status."
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "pages"
    path.mkdir()
    return str(path)


def environment(more):
    own = {k: v for k, v in os.environ.items() if k.lower() != "prometheus_multiproc_dir"}
    return {**own, "PYTHONWARNINGS": "error", "PYTHONFAULTHANDLER": "1", **(more or {})}


class Script:
    """A process that runs a script and is talked to line by line."""

    def __init__(self, code, *args, env=None):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(env),
        )
        self.pid = self.process.pid

    def line(self):
        said = self.process.stdout.readline()
        assert said, f"it ended with status {self.process.wait()}"
        return said.rstrip("\n")

    def tell(self, line=""):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        return self.process.wait()

    def end(self):
        """Close its standard input, wait for its end, and give the status."""
        self.process.stdin.close()
        return self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start():
    """Starts scripts that go on while the test does; those left are killed at its end."""
    started = []

    def start_script(code, *args, env=None):
        started.append(Script(code, *args, env=env))
        return started[-1]

    yield start_script
    for script in started:
        script.close()


@pytest.fixture
def run():
    """Runs a script to its end; gives what it printed, and what it wrote to stderr."""

    def run_script(code, *args, env=None, status=0):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=50,
            env=environment(env),
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    return run_script


@pytest.fixture
def make_recorder(directory):
    """Makes recorders in this process, without activating anything."""
    made = []

    def make(role="worker", access=None):
        recorder = Recorder(directory, access or Access())
        made.append(recorder)
        if role:
            recorder.bind(role)
        return recorder

    yield make
    for recorder in made:
        recorder.close()


@pytest.fixture
def recorder(make_recorder):
    return make_recorder()


@pytest.fixture
def kill_group():
    """Ends what a test has left in a session of its own."""
    groups = []
    yield groups.append
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def contents(snapshots):
    """Values by process, kind, sample and labels."""
    found = {}
    for snapshot in snapshots:
        for stored, at in zip(snapshot.keys, snapshot.at, strict=True):
            _, sample, labels, _ = json.loads(stored)
            if not sample.startswith("gunicorn_exporter_"):
                text = ",".join(f"{k}={v}" for k, v in labels.items())
                identity = sample + (f"{{{text}}}" if text else "")
                place = found.setdefault((snapshot.process.name, snapshot.kind), {})
                place[identity] = snapshot.values[at]
    return found


@pytest.fixture
def read(directory):
    """What a new reader finds: {(process, kind): {sample: value}}, our own health left out."""

    def collect(access=None):
        reader = Reader(directory, access)
        try:
            return contents(reader.collect())
        finally:
            reader.close()

    return collect


@pytest.fixture
def contents_of():
    return contents
