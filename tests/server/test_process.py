import asyncio
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_server import health
from gunicorn_prometheus_server.clients import Clients
from gunicorn_prometheus_server.connection import accept


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


def test_a_module_in_the_working_directory_takes_no_name_of_ours(run, tmp_path):
    for name in ("argparse", "h11", "queue", "secrets", "status", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    status, said = run("--help", PYTHONSAFEPATH="1")
    assert (status, said.partition(" ")[0]) == (0, "usage:")


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


# Started by hand


def ask_at(address, path="/metrics"):
    """The body of an answer, None while nobody listens there: a port, or a path."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as sock, contextlib.suppress(ConnectionRefusedError, OSError):
        sock.settimeout(20)
        sock.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with sock.makefile("rb") as file:
            return file.read().partition(b"\r\n\r\n")[2]
    return None


def test_it_listens_at_several_addresses_and_leaves_no_file(
    by_hand, directory, tmp_path, until, find_port
):
    one, other, path = find_port(), find_port(), tmp_path / "metrics.sock"
    sidecar = by_hand(
        PROMETHEUS_MULTIPROC_DIR=str(directory),
        PROMETHEUS_METRICS_PORT=str(one),
        PROMETHEUS_BIND_ADDRESS=f"127.0.0.1,127.0.0.1:{other},unix:{path}",
    )
    for address in (one, other, path):
        assert b"jobs_total" in until(lambda address=address: ask_at(address))
    assert sidecar.stop() == 0
    assert not path.exists()


#: Starts what its arguments say as systemd does: with sockets from descriptor 3 on.
SYSTEMD = """
import os, socket, sys
for number, port in enumerate(sys.argv[1].split(",")):
    sock = socket.create_server(("127.0.0.1", int(port)))
    os.dup2(sock.fileno(), 100 + number)
    sock.close()
number += 1
for n in range(number):
    os.dup2(100 + n, 3 + n, inheritable=True)
    os.close(100 + n)
os.environ |= {"LISTEN_FDS": str(number), "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_it_takes_the_sockets_that_systemd_has_opened(by_hand, directory, until, find_port):
    ports = [find_port(), find_port()]
    unused = find_port()
    sidecar = by_hand(
        prefix=["-c", SYSTEMD, ",".join(map(str, ports))],
        PROMETHEUS_MULTIPROC_DIR=str(directory),
        PROMETHEUS_METRICS_PORT=str(unused),
        PROMETHEUS_BIND_ADDRESS="127.0.0.1",
    )
    for port in ports:
        assert b"jobs_total" in until(lambda port=port: ask_at(port))
    assert ask_at(unused) is None
    assert sidecar.stop() == 0


def test_sockets_for_another_process_are_left_alone(by_hand, directory, until, find_port):
    port = find_port()
    sidecar = by_hand(
        LISTEN_PID="1",
        LISTEN_FDS="1",
        PROMETHEUS_MULTIPROC_DIR=str(directory),
        PROMETHEUS_METRICS_PORT=str(port),
        PROMETHEUS_BIND_ADDRESS="127.0.0.1",
    )
    assert until(lambda: ask_at(port))
    assert sidecar.stop() == 0


def families(text):
    told = ("gunicorn_sidecar", "gunicorn_exporter_directory")
    return {line.split()[0]: float(line.split()[1]) for line in text.decode().splitlines()
            if line.startswith(told)}  # fmt: skip


def test_the_sidecar_tells_of_itself_and_of_the_directory(by_hand, directory, until, find_port):
    port = find_port()
    sidecar = by_hand(
        PROMETHEUS_MULTIPROC_DIR=str(directory),
        PROMETHEUS_METRICS_PORT=str(port),
        PROMETHEUS_BIND_ADDRESS="127.0.0.1",
        SIDECAR_UPDATE_INTERVAL="1",
    )
    told = families(until(lambda: ask_at(port)))
    files = [path.stat().st_size for path in directory.iterdir()]
    assert told["gunicorn_sidecar_multiproc_files_count"] == len(files)
    assert told["gunicorn_sidecar_multiproc_dir_size_bytes"] == sum(files)
    system = os.statvfs(directory)
    size = told["gunicorn_exporter_directory_size_bytes"]
    assert size == system.f_blocks * system.f_frsize
    left = told["gunicorn_exporter_directory_available_bytes"]
    assert left == pytest.approx(system.f_bavail * system.f_frsize, abs=size / 10)
    assert 0 <= told["gunicorn_sidecar_uptime_seconds"] < 60
    assert "gunicorn_sidecar_redis_connected" not in told
    (directory / "more").write_bytes(b"x" * 1000)
    until(
        lambda: families(ask_at(port))["gunicorn_sidecar_multiproc_files_count"] == len(files) + 1
    )
    assert sidecar.stop() == 0


def test_a_directory_that_is_not_there_yet_is_waited_for(
    by_hand, directory, tmp_path, until, find_port
):
    port, later = find_port(), tmp_path / "later"
    sidecar = by_hand(
        PROMETHEUS_MULTIPROC_DIR=str(later),
        PROMETHEUS_METRICS_PORT=str(port),
        PROMETHEUS_BIND_ADDRESS="127.0.0.1",
    )
    assert until(lambda: ask_at(port, "/-/healthy")) == b"healthy\n"
    assert ask_at(port, "/-/ready") != b"ready\n"
    directory.rename(later)
    until(lambda: ask_at(port, "/-/ready") == b"ready\n")
    text = ask_at(port)
    assert b"jobs_total" in text
    assert b"gunicorn_exporter_scrapes_total" in text
    assert sidecar.stop() == 0
    assert "is not there yet" in sidecar.log


# Health


@pytest.mark.parametrize("ready", [False, True])
def test_health_is_a_line_and_says_the_truth(start, directory, ready):
    server = start()
    settings = Settings(bind_address="127.0.0.1", metrics_port=server.port)
    well, line = health.ask(settings, ready=ready)
    assert well
    assert line == f"{'ready' if ready else 'healthy'} at 127.0.0.1:{server.port}"
    server.process.send_signal(signal.SIGSTOP)
    well, line = health.ask(settings, ready=ready, seconds=0.2)
    assert not well
    assert line == f"unwell: 127.0.0.1:{server.port}: no answer within 0.2 s"
    server.process.send_signal(signal.SIGCONT)
    server.process.terminate()
    server.process.wait(20)
    well, line = health.ask(settings, ready=ready)
    assert not well
    assert "refused" in line


def test_health_without_readiness(start, directory):
    server = start()
    settings = Settings(metrics_port=server.port)
    assert server.ask()[0] == 200
    shutil.rmtree(directory)
    directory.touch()
    assert health.ask(settings)[0]
    well, line = health.ask(settings, ready=True)
    assert (well, line) == (False, "unwell: status 503: not ready; /metrics says why")


@pytest.mark.parametrize("text", [
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n",
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
    "  client_ca_file: clients.crt\n  client_auth_type: RequireAndVerifyClientCert\n",
    "basic_auth_users:\n  a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG\n",
])  # fmt: skip
def test_health_by_tls_with_certificates_and_with_users(start, certificates, text):
    environment = certificates.web_config(text)
    server = start(env=environment)
    settings = Settings(
        metrics_port=server.port, web_config_file=environment["PROMETHEUS_WEB_CONFIG_FILE"]
    )
    for _ in range(3):
        well, line = health.ask(settings)
        assert well, line
    server.process.send_signal(signal.SIGSTOP)
    assert not health.ask(settings, seconds=0.2)[0]
    server.process.send_signal(signal.SIGCONT)
    assert "refused a client" not in server.log


def test_a_client_that_comes_as_accepting_ends_is_left_to_who_accepts_next():
    async def end_as_one_comes(listener):
        accepting = asyncio.create_task(accept(listener))
        await asyncio.sleep(0)
        with socket.create_connection(listener.getsockname()):
            # Called after the reader that finds the client, and before what waits for it goes on.
            asyncio.get_running_loop().call_later(0, accepting.cancel)
            with pytest.raises(asyncio.CancelledError):
                await accepting
            listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        asyncio.run(end_as_one_comes(listener))


def test_a_socket_that_no_longer_listens_does_not_keep_the_process_from_ending():
    """What has a socket of ours as well, can end it."""

    async def listen_at(ended):
        clients = Clients(None, None, None, None, None)
        accepting = asyncio.create_task(clients.accept(ended))
        await asyncio.sleep(0.01)
        accepting.cancel()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.shutdown(socket.SHUT_RDWR)
        thread = threading.Thread(target=asyncio.run, args=(listen_at(listener),), daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
