import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys

import pytest


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_status_0_when_asked_to(start, number):
    server = start()
    assert server.ask()[0] == 200
    server.process.send_signal(number)
    assert server.process.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        server.ask()


def test_a_client_that_stays_connected_does_not_keep_it(start):
    server = start()
    assert server.ask()[0] == 200
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /metrics HT")
        server.process.terminate()
        assert server.process.wait(20) == 0


#: Starts what its arguments say as its child, says the child's pid, and waits to be killed.
PARENT = """
import os, signal, subprocess, sys
keep = [int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
keep = [fd for fd in keep if os.path.exists(f"/proc/self/fd/{fd}")]
child = subprocess.Popen([*sys.argv[1:], "--parent", str(os.getpid())], pass_fds=keep)
print("child", child.pid, flush=True)
signal.pause()
"""


def test_it_ends_when_its_parent_is_gone(start, until):
    server = start(prefix=[sys.executable, "-c", PARENT])
    assert server.ask()[0] == 200
    (line,) = [line for line in server.log.splitlines() if line.startswith("child")]
    child = int(line.split()[1])
    assert not is_gone(child)
    server.process.kill()
    server.process.wait()
    until(lambda: is_gone(child))


def test_a_parent_that_is_gone_already_ends_it_at_once(start):
    server = start("--parent", str(os.getpid() + 1))
    assert server.process.wait(20) == 0


def test_it_owns_a_slot_while_it_lives(start, directory):
    server = start()
    server.ask()
    assert (directory / "exporter-0.slot").exists()
    other = start()
    other.ask()
    assert (directory / "exporter-1.slot").exists()


def test_its_counts_survive_its_being_killed(start):
    server = start()
    for _ in range(3):
        server.ask()
    server.process.kill()
    server.process.wait()
    successor = start()
    assert b"\ngunicorn_exporter_scrapes_total 4.0\n" in successor.ask()[2]


def test_started_by_hand_it_opens_the_configured_address(directory, tmp_path, until):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn_prometheus_server"],
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(directory),
            "PROMETHEUS_METRICS_PORT": str(port),
            "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
        },
        stderr=subprocess.DEVNULL,
    )
    try:

        def answered():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
                connection.request("GET", "/metrics")
                return connection.getresponse().read()

        assert b'jobs_total{q="x"} 3.0' in until(answered)
    finally:
        process.terminate()
    assert process.wait(20) == 0


def taken_port(tmp_path):
    sock = socket.create_server(("127.0.0.1", 0))
    port = str(sock.getsockname()[1])
    address = {"PROMETHEUS_METRICS_PORT": port, "PROMETHEUS_BIND_ADDRESS": "127.0.0.1"}
    return sock, ["--directory", tmp_path], address, "in use"


CANNOT_START = {
    "no directory is configured": lambda path: (None, [], {}, "PROMETHEUS_MULTIPROC_DIR"),
    "the directory is missing": lambda path: (
        None, ["--directory", path / "missing"], {}, "missing",
    ),
    "the directory is a file": lambda path: (
        None, ["--directory", "/dev/null"], {}, "/dev/null",
    ),
    "a setting is wrong": lambda path: (
        None, [], {"PROMETHEUS_METRICS_PORT": "http"}, "PROMETHEUS_METRICS_PORT='http'",
    ),
    "the backend is not installed": lambda path: (
        None,
        ["--directory", path],
        {"GUNICORN_PROMETHEUS_STORAGE": "papyrus"},
        "GUNICORN_PROMETHEUS_STORAGE='papyrus' (from the environment): must be the name of an",
    ),
    "redis is not installed": lambda path: (
        None,
        ["--directory", path],
        {"REDIS_ENABLED": "true"},
        "pip install gunicorn-prometheus-storage-redis",
    ),
    "the descriptor is not open": lambda path: (
        None, ["--directory", path, "--fd", "987"], {}, "Bad file descriptor",
    ),
    "the descriptor is no socket": lambda path: (
        None, ["--directory", path, "--fd", "2"], {}, "on non-socket",
    ),
    "the address is nobody's": lambda path: (
        None,
        ["--directory", path],
        {"PROMETHEUS_BIND_ADDRESS": "203.0.113.77"},
        "203.0.113.77",
    ),
    "the port is taken": taken_port,
    "an argument is unknown": lambda path: (None, ["--colour"], {}, "--colour"),
}  # fmt: skip


@pytest.mark.parametrize("why", CANNOT_START)
def test_where_it_cannot_start_it_says_why_and_ends_with_status_1(run, tmp_path, why):
    """Never with 3 or 4, by which Gunicorn would stop the server."""
    held, arguments, env, words = CANNOT_START[why](tmp_path)
    status, said = run(*arguments, **env)
    if held is not None:
        held.close()
    assert status == 1
    assert words in said
    assert "Traceback" not in said


def test_importing_changes_nothing_and_does_not_load_the_application(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import logging, sys, threading\n"
            "from prometheus_client import values\n"
            "before = values.ValueClass\n"
            "import gunicorn_prometheus_server.__main__, gunicorn_prometheus_server.app\n"
            "assert values.ValueClass is before\n"
            "assert not logging.root.handlers and threading.active_count() == 1\n"
            "assert 'gunicorn' not in sys.modules\n",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
