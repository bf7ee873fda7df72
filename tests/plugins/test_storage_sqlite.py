"""The example of a storage backend: alone, under another name, and serving."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples/storage-sqlite"

pytestmark = pytest.mark.timeout(300)  # installing takes its time
in_group = pytest.mark.xdist_group


@pytest.fixture(scope="module")
def tested(make_environment, wheels):
    """An environment with what tests of a backend need, and nothing else of ours but core."""
    environment = make_environment()
    environment.install("gunicorn-prometheus-core", "pytest", wheels=wheels)
    return environment


def passes(environment, folder):
    environment.install(f"{folder}")
    said = environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert re.search(r"^\d\d passed", said, re.MULTILINE), said


@in_group("tested")
def test_it_passes_the_suite_knowing_only_core(tested, tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "copy")
    passes(tested, tmp_path / "copy")


@in_group("tested")
def test_a_copy_under_another_name_passes_the_suite(tested, tmp_path):
    lake = tmp_path / "gunicorn-metrics-lake"
    command = [sys.executable, EXAMPLE / "copy_as.py", "lake", lake]
    subprocess.run(command, check=True)
    left = [
        path.relative_to(lake)
        for path in lake.rglob("*")
        if re.search("sqlite(?!3)", path.name + path.read_text() if path.is_file() else path.name)
    ]
    assert left == []
    passes(tested, lake)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is there already" in again.stderr


@in_group("installed")
def test_two_servers_show_the_sum_of_both_exactly(serve, until, tmp_path):
    shared = {
        "GUNICORN_PROMETHEUS_STORAGE": "sqlite",
        "GUNICORN_PROMETHEUS_SQLITE_PATH": str(tmp_path / "metrics.sqlite"),
    }
    a, b = serve("a", **shared), serve("b", **shared)
    a.ask(40)
    b.ask(25)
    for each in (a, b):
        until(lambda each=each: each.requests() == 65, each.requests)
    a.stop()
    until(lambda: b.samples()["gunicorn_workers"] == 4, lambda: b.samples()["gunicorn_workers"])
    assert b.requests() == 65


@in_group("installed")
def test_doctor_shows_its_settings_and_names_a_wrong_one(installed, tmp_path):
    variables = {
        "GUNICORN_PROMETHEUS_STORAGE": "sqlite",
        "GUNICORN_PROMETHEUS_SQLITE_PATH": str(tmp_path / "metrics.sqlite"),
        "PROMETHEUS_METRICS_PORT": "29091",
    }
    said = installed.run("gunicorn-prometheus-exporter", "doctor", "--all", **variables)
    path = f"GUNICORN_PROMETHEUS_SQLITE_PATH\t{tmp_path / 'metrics.sqlite'}\tfrom the environment\n"
    assert path in said
    assert "GUNICORN_PROMETHEUS_SQLITE_TTL_SECONDS\t300\tdefault\n" in said
    assert "storage: sqlite answers and has values of 0 hosts" in said
    assert "is not a setting" not in said
    variables["GUNICORN_PROMETHEUS_SQLITE_TTL_SECONDS"] = "soon"
    with pytest.raises(AssertionError) as failed:
        installed.run("gunicorn-prometheus-exporter", "doctor", **variables)
    assert (
        "GUNICORN_PROMETHEUS_SQLITE_TTL_SECONDS='soon' (from the environment): "
        "must be seconds from 0.5 to 604800 (default: 300)\n"
    ) in str(failed.value)


@in_group("installed")
def test_its_settings_are_read_again_at_a_reload(serve, until, tmp_path):
    file, first, second = (tmp_path / name for name in ("exporter.yml", "first", "second"))

    def write(path):
        file.write_text(f"exporter:\n  storage: sqlite\n  sqlite:\n    path: {path}\n")

    write(first)
    server = serve(GUNICORN_PROMETHEUS_CONFIG=str(file))
    until(first.exists, server.log.read_text)
    write("7\n    colour: blue")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "exporter.sqlite.colour (from " in server.log.read_text(), server.log.read_text)
    assert "the settings stay as they were" in server.log.read_text()
    write(second)
    server.process.send_signal(signal.SIGHUP)
    until(second.exists, server.log.read_text)
    until(
        lambda: server.is_up() and server.samples()["gunicorn_exporter_storage_up"] == 1,
        server.log.read_text,
    )
