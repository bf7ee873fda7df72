"""The command gunicorn-prometheus-exporter, as somebody types it."""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

COMMAND = str(Path(sysconfig.get_path("scripts"), "gunicorn-prometheus-exporter"))


@pytest.fixture
def run():
    """Runs it with these variables; nothing else is set."""

    def command(*arguments, **variables):
        theirs = ("PROMETHEUS_", "GUNICORN_", "REDIS_", "SIDECAR_", "CLEANUP_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
        return subprocess.run(
            [COMMAND, *arguments],
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


def on_a_terminal(*arguments, **variables):
    """What it prints to a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    printed = b""
    try:
        while piece := os.read(master, 65536):
            printed += piece
    except OSError:  # nobody writes there any more
        pass
    os.close(master)
    process.wait(30)
    return printed.decode().replace("\r\n", "\n")


def findings(printed):
    """state -> texts, and the remedies that follow them."""
    found = re.findall(r"^  (fine|note|wrong) +(.*)$(?:\n +-> (.*))?", printed, re.MULTILINE)
    return [(state, text, remedy) for state, text, remedy in found]


def test_help_names_the_commands(run):
    done = run("--help")
    assert done.returncode == 0
    for command in ("doctor", "backends", "get"):
        assert re.search(rf"^ +{command} ", done.stdout, re.MULTILINE)
        assert run(command, "--help").returncode == 0


def test_help_needs_no_settings(run):
    done = run("help", PROMETHEUS_METRICS_PORT="abc")
    assert (done.returncode, done.stdout) == (0, run("--help").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["docter"],
        ["get", "--format", "xml"],
        ["doctor", "x"],
        *(["health", f"--timeout={text}"] for text in ("0", "-1", "nan", "1e400", "soon")),
    ],
)
def test_arguments_that_cannot_be_used_are_status_2(run, arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr


# doctor


def test_doctor_finds_a_healthy_installation_fine(run, free_port):
    done = run(
        "doctor", PROMETHEUS_METRICS_PORT=str(free_port()), PROMETHEUS_BIND_ADDRESS="127.0.0.1"
    )
    assert done.returncode == 0, done.stdout
    assert {state for state, _, _ in findings(done.stdout)} == {"fine"}
    assert "\033" not in done.stdout
    assert re.search(r"^gunicorn-prometheus-workers\t\d", done.stdout, re.MULTILINE)


def test_doctor_shows_settings_with_their_sources_and_no_secret(run, tmp_path, free_port):
    file = tmp_path / "metrics.yml"
    file.write_text(
        "exporter:\n  redis: {password: sesame, url: redis://:sesame@h}\n"
        "  sharing: {scope: instance}\n"
    )
    done = run("doctor", "--config", str(file), PROMETHEUS_METRICS_PORT=str(free_port()))
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["REDIS_PASSWORD", "********"] in [line[:2] for line in lines]
    assert [
        "GUNICORN_PROMETHEUS_SCOPE",
        "instance",
        f"exporter.sharing.scope, from {file}, line 3, column 20",
    ] in lines
    assert ["PROMETHEUS_METRICS_PORT", "from the environment"] in [line[::2] for line in lines]
    assert "sesame" not in done.stdout + done.stderr
    assert "REDIS_HOST" not in done.stdout
    assert "REDIS_HOST\t127.0.0.1\tdefault" in run("doctor", "--all").stdout


def test_doctor_names_what_is_wrong_and_what_helps(run, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as no,
    ):
        port = taken.getsockname()[1]
        silent = no.getsockname()[1]
        done = run(
            "doctor",
            PROMETHEUS_BIND_ADDRESS="127.0.0.1",
            PROMETHEUS_METRICS_PORT=str(port),
            PROMETHEUS_MULTIPROC_DIR="/proc/nothing",
            REDIS_ENABLED="true",
            REDIS_PORT=str(silent),
            REDIS_PASSWORD="sesame",
            GUNICORN_PROMETHEUS_STORGE="mmap",
            PROMETHEUS_METRIC_PORT="1",
        )
    assert done.returncode == 1
    wrong = {
        text.partition(":")[0]: remedy
        for state, text, remedy in findings(done.stdout)
        if state == "wrong"
    }
    assert wrong.keys() == {"pages", "endpoint", "storage"}
    assert all(wrong.values())
    notes = {text: remedy for state, text, remedy in findings(done.stdout) if state == "note"}
    assert notes == {
        "the variable GUNICORN_PROMETHEUS_STORGE is not a setting": (
            "did you mean GUNICORN_PROMETHEUS_STORAGE?"
        ),
        "the variable PROMETHEUS_METRIC_PORT is not a setting": (
            "did you mean PROMETHEUS_METRICS_PORT?"
        ),
    }
    assert "sesame" not in done.stdout + done.stderr


def test_doctor_reaches_redis(run, redis_server, free_port):
    done = run(
        "doctor",
        PROMETHEUS_METRICS_PORT=str(free_port()),
        REDIS_ENABLED="true",
        REDIS_PORT=str(redis_server.port),
    )
    assert done.returncode == 0, done.stdout
    assert "storage: redis answers and has values of 0 hosts" in done.stdout


def test_doctor_knows_the_endpoint_of_a_running_server(run, server):
    gunicorn = server("-w", "1").start()
    done = run("doctor", **gunicorn.environment)
    assert done.returncode == 0, done.stdout
    assert f"endpoint: metrics are served at 127.0.0.1:{gunicorn.metrics_port}" in done.stdout


def test_on_a_terminal_there_are_columns_and_colours():
    printed = on_a_terminal("doctor")
    assert "\033[1mSettings\033[0m" in printed
    assert re.search(r"^  gunicorn {5,}\d", printed, re.MULTILINE)
    assert "\033" not in on_a_terminal("doctor", NO_COLOR="1")


# backends


def test_backends_lists_what_is_installed(run):
    done = run("backends", REDIS_ENABLED="true")
    assert done.returncode == 0
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:3] == ["NAME", "DISTRIBUTION", "VERSION"]
    rows = {line[0]: line[1:] for line in lines[1:]}
    assert rows["mmap"][0] == "gunicorn-prometheus-storage-mmap"
    assert rows["redis"][2] == "in use"


# get


def test_get_prints_the_metrics_of_a_running_server(run, server, tmp_path):
    pages = str(tmp_path / "pages")
    gunicorn = server("-w", "2", PROMETHEUS_MULTIPROC_DIR=pages).start()
    for _ in range(5):
        gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 5)
    for done in (
        run("get", "--directory", pages),
        run("get", PROMETHEUS_MULTIPROC_DIR=pages),
        run("get", "app_hellos_total", PROMETHEUS_MULTIPROC_DIR=pages),
    ):
        assert done.returncode == 0, done.stderr
        assert "\napp_hellos_total 5.0\n" in done.stdout
    assert len(done.stdout.splitlines()) == 3
    metrics = run("get", "--directory", pages, "--format", "openmetrics").stdout
    assert metrics.endswith("# EOF\n")
    # It was only looked at.
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 6)


def test_get_prints_them_as_they_are_served_whatever_the_locale(run, tmp_path):
    code = "from prometheus_client import Counter; Counter('jobs', 'Größe').inc()"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    done = run("get", "--directory", str(tmp_path), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "jobs_total 1.0" in done.stdout


def test_get_prints_the_metrics_in_redis(run, server, redis_server):
    settings = {"REDIS_ENABLED": "true", "REDIS_PORT": str(redis_server.port)}
    gunicorn = server("-w", "1", **settings, GUNICORN_PROMETHEUS_PUBLISH_SECONDS="0.1").start()
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 1)
    gunicorn.stop()
    done = run("get", "app_hellos_total", **settings)
    assert done.stdout.endswith("\napp_hellos_total 1.0\n")


def test_get_says_when_there_is_nothing_to_get(run, tmp_path):
    done = run("get", "nothing_of_that_name", "--directory", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    done = run("get")
    assert done.returncode == 2
    assert "--directory" in done.stderr


def test_get_says_that_redis_cannot_be_reached(run):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    done = run("get", REDIS_ENABLED="true", REDIS_PORT=str(port))
    assert done.returncode == 1
    assert f"Redis at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
