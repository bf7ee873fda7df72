"""The ways to start a server."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

REQUESTS = "gunicorn_worker_requests_total"


@pytest.mark.xdist_group("port 9091")
def test_the_plain_command_gives_metrics_on_port_9091(wait, free_port):
    """No configuration file, no environment."""
    conftest = sys.modules[wait.__module__]
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if "PROMETHEUS" not in k}
    command = [
        *(conftest.GUNICORN, "-w", "2", "-b", f"127.0.0.1:{port}"),
        *("-k", "gunicorn_prometheus_exporter.PrometheusWorker", "application:app"),
    ]
    if conftest.VERSION >= (25, 1):
        command.insert(1, "--no-control-socket")
    process = subprocess.Popen(command, cwd=Path(__file__).parent, env=environment)
    try:

        def scrape():
            try:
                with urllib.request.urlopen("http://127.0.0.1:9091/metrics", timeout=5) as answer:
                    return answer.read()
            except OSError:
                return None

        text = wait(scrape, "metrics are served on port 9091")
        assert b"gunicorn_worker_requests_total" in text
        listening = [
            c.laddr.ip
            for child in psutil.Process(process.pid).children()
            for c in child.net_connections()
            if c.status == psutil.CONN_LISTEN and c.laddr.port == 9091
        ]
        assert listening == ["0.0.0.0"]
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.compat
def test_checking_the_configuration_starts_nothing(server, tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "counter_worker-0.db").touch()
    gunicorn = server("--check-config", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "pages"))
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(20) == 0
    assert "counter_worker-0.db" in os.listdir(tmp_path / "pages"), "the directory was emptied"
    assert not [name for name in os.listdir(tmp_path / "pages") if name.endswith(".slot")]
    assert gunicorn.log == ""


@pytest.mark.compat
def test_daemon(server, wait, tmp_path):
    pidfile, errors = tmp_path / "pid", tmp_path / "error.log"
    gunicorn = server(
        *("--daemon", "-w", "1", "--pid", str(pidfile), "--error-logfile", str(errors))
    )
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(20) == 0
    wait(gunicorn.is_scrapable, "the metrics are served")
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 1)
    master = psutil.Process(int(pidfile.read_text()))
    family = [master, *master.children(recursive=True)]
    os.kill(gunicorn.exporter(master.pid), signal.SIGKILL)
    wait(lambda: "starting it again" in errors.read_text(), "it is logged where Gunicorn logs")
    wait(gunicorn.is_scrapable, "the metrics are served again")
    family += master.children(recursive=True)
    errors.rename(tmp_path / "error.log.1")
    master.send_signal(signal.SIGUSR1)

    def logs_where_it_should():
        with contextlib.suppress(OSError, ValueError):
            return os.readlink(f"/proc/{gunicorn.exporter(master.pid)}/fd/2") == str(errors)

    wait(logs_where_it_should, "the exporter writes into the new log")
    wait(gunicorn.is_scrapable, "the metrics are served once more")
    assert gunicorn.scrape().sum("gunicorn_exporter_restarts_total") == 1
    family += master.children(recursive=True)
    master.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_reload_on_change_of_the_application(server, wait, tmp_path):
    shutil.copy(Path(__file__).parent / "application.py", tmp_path)
    gunicorn = server("-w", "1", "--reload", "--chdir", str(tmp_path)).start()
    gunicorn.get("/")
    (worker,) = gunicorn.workers()
    future = time.time() + 10
    os.utime(tmp_path / "application.py", (future, future))
    wait(lambda: gunicorn.workers() and worker not in gunicorn.workers(), "the worker reloads", 30)
    wait(gunicorn.answers, "the new worker answers")
    gunicorn.wait_counted("gunicorn_worker_exits_total", 1, cause="reload")
    assert gunicorn.scrape().sum("app_hellos_total") == 1


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
def test_workers_of_another_user(server, wait, tmp_path, open_to_everybody, preload):
    """Started as root, workers as nobody: nothing is left to root but the master."""
    assert os.geteuid() == 0, "changing the user needs root; CI runs as root"
    nobody = pwd.getpwnam("nobody")
    pages = tmp_path / "pages"
    # Every folder on the way to our packages and tests has to be open to that user.
    open_to_everybody([sys.executable, sys.base_prefix + "/bin", __file__, str(pages)])
    gunicorn = server(
        *("-w", "2", "--user", "nobody", "--group", str(nobody.pw_gid), *preload),
        PROMETHEUS_MULTIPROC_DIR=str(pages),
    ).start()
    for _ in range(10):
        gunicorn.get("/")
    now = gunicorn.wait_counted(REQUESTS, 11)
    assert now.sum("app_hellos_total") == 10
    assert len(now.values("gunicorn_worker_memory_bytes")) == 2
    for pid in (*gunicorn.workers(), gunicorn.exporter()):
        assert psutil.Process(pid).uids().effective == nobody.pw_uid
    for path in pages.iterdir():
        status = path.stat()
        assert status.st_uid == nobody.pw_uid, path
        assert status.st_mode & 0o007 == 0, path
    first = gunicorn.workers()
    os.kill(first[0], signal.SIGKILL)
    wait(
        lambda: len(gunicorn.workers()) == 2 and first[0] not in gunicorn.workers(),
        "the worker is replaced",
    )
    gunicorn.get("/")
    gunicorn.wait_counted(REQUESTS, 12)
    gunicorn.stop()


def test_users_own_hooks_still_run(server, tmp_path):
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(
        "def pre_request(worker, req):\n"
        f"    open({str(tmp_path / 'pre')!r}, 'a').write('x')\n"
        "def post_request(worker, req):\n"
        f"    open({str(tmp_path / 'post')!r}, 'a').write('x')\n"
    )
    gunicorn = server("-w", "1", "-c", str(configuration)).start()
    for _ in range(3):
        gunicorn.get("/")
    gunicorn.wait_counted(REQUESTS, 4)
    assert (tmp_path / "pre").read_text() == "xxxx"
    assert (tmp_path / "post").read_text() == "xxxx"


def test_the_applications_port_wins_over_the_metrics_port(server, wait):
    gunicorn = server("-w", "1")
    gunicorn.environment["PROMETHEUS_METRICS_PORT"] = str(gunicorn.port)
    gunicorn.start(ready=False)
    wait(gunicorn.answers, "the application answers")
    assert "can't serve metrics at" in gunicorn.log


def test_a_directory_left_by_a_killed_server_is_removed_by_the_next(server, wait):
    gunicorn = server("-w", "1").start()
    command = psutil.Process(gunicorn.exporter()).cmdline()
    directory = Path(command[command.index("--directory") + 1])
    family = gunicorn.family()
    gunicorn.process.kill()
    gunicorn.process.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "workers and exporter end when the master is gone"
    past = time.time() - 60
    # A server of another test may have removed it by now.
    with contextlib.suppress(FileNotFoundError):
        os.utime(directory / "private", (past, past))
    other = server("-w", "1").start()
    assert not directory.exists()
    other.stop()


def test_sidecar_mode_records_and_serves_nothing(server, tmp_path, wait):
    pages = tmp_path / "pages"
    gunicorn = server("-w", "1", SIDECAR_MODE="true", PROMETHEUS_MULTIPROC_DIR=str(pages))
    gunicorn.start(ready=False)
    wait(gunicorn.answers, "the application answers")
    assert not gunicorn.pids("gunicorn_prometheus_server")
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", gunicorn.metrics_port)),
    ):
        pass
    sidecar = subprocess.Popen(
        [sys.executable, "-m", "gunicorn_prometheus_server"],
        env={**os.environ, **gunicorn.environment, "SIDECAR_MODE": ""},
    )
    try:
        wait(gunicorn.is_scrapable, "the exporter started by hand serves")
        gunicorn.get("/")
        gunicorn.wait_counted("app_hellos_total", 1)
    finally:
        sidecar.terminate()
        assert sidecar.wait(10) == 0
