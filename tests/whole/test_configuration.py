"""A server that is configured in the ways there are, and told other settings while it runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from .conftest import VERSION

REQUESTS = "gunicorn_worker_requests_total"

#: What plain Gunicorn calls its kinds of worker.
PLAIN = {
    "sync": [],
    "gthread": ["--threads", "3"],
    "gevent": ["-k", "gevent"],
    "gevent_pywsgi": ["-k", "gevent_pywsgi"],
    "eventlet": ["-k", "eventlet"],
    "tornado": ["-k", "tornado"],
    "asgi": ["-k", "asgi"],
    "uvicorn": ["-k", "uvicorn_worker.UvicornH11Worker"],
}


class Folder:
    """A server's working directory with its configuration, and the server."""

    def __init__(self, path, make):
        self.path, self._make = path, make

    def write(self, name, text):
        (self.path / name).write_text(text)

    def server(self, *options, **environment):
        server = self._make(*options, **environment)
        server.working_directory = self.path
        return server


@pytest.fixture
def folder(tmp_path, server):
    path = tmp_path / "folder"
    path.mkdir()
    for name in ("application.py", "asgi_application.py", "tornado_application.py"):
        (path / name).symlink_to(os.path.join(os.path.dirname(__file__), name))
    return Folder(path, server)


# One option


@pytest.fixture
def wired(folder, monkeypatch):
    """Makes servers of plain Gunicorn, for which a variable asks for our configuration."""

    def make(*options, app="application:app", **environment):
        gunicorn = folder.server(*options, app=app, **environment)
        # Not the class that the fixture would ask for.
        gunicorn.options += [] if "-k" in options else ["-k", "sync"]
        gunicorn.environment["GUNICORN_CMD_ARGS"] = "-c python:gunicorn_prometheus_exporter.conf"
        return gunicorn

    return make


@pytest.mark.compat
@pytest.mark.kinds(lambda kind: kind.name in PLAIN and (kind.name != "eventlet" or VERSION < (26,)))
def test_one_option_makes_any_kind_of_worker_record(wired, kind):
    gunicorn = wired("-w", "2", *PLAIN[kind.name], app=kind.app).start()
    for _ in range(5):
        gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 5)
    gunicorn.wait_counted("gunicorn_http_request_duration_seconds_count", 5, endpoint="/")
    gunicorn.wait_counted("gunicorn_workers", 2)


def test_one_option_and_a_preloaded_application(wired):
    gunicorn = wired("-w", "2", "--preload").start()
    for _ in range(5):
        gunicorn.get("/")
    now = gunicorn.wait_counted("app_hellos_total", 5)
    assert now.sum("app_starts_total") == 1


def test_a_worker_class_of_the_users_own_stays_itself(wired, folder):
    folder.write(
        "theirs.py",
        "from gunicorn.workers.gthread import ThreadWorker\n"
        "class Worker(ThreadWorker):\n"
        "    def init_process(self):\n"
        "        self.log.info('theirs begins')\n"
        "        super().init_process()\n",
    )
    gunicorn = wired("-w", "1", "--threads", "3", "-k", "theirs.Worker").start()
    gunicorn.get("/")
    now = gunicorn.wait_counted("app_hellos_total", 1)
    assert now.sum("gunicorn_worker_capacity") == 3
    assert "theirs begins" in gunicorn.log


def test_a_worker_that_is_none_of_gunicorns_goes_on_without_metrics(wired, folder, wait):
    folder.write(
        "theirs.py",
        "import time\n"
        "from gunicorn.workers.base import Worker as Base\n"
        "class Worker(Base):\n"
        "    def run(self):\n"
        "        while self.alive:\n"
        "            self.notify()\n"
        "            time.sleep(0.05)\n",
    )
    gunicorn = wired("-w", "1", "-k", "theirs.Worker").start(ready=False)
    wait(lambda: "records nothing" in gunicorn.log, lambda: gunicorn.end_of_log)
    wait(gunicorn.is_scrapable, "the master's metrics are served")
    gunicorn.stop()


def test_the_users_own_configuration_is_read_too_and_again(wired, folder, wait):
    folder.write("gunicorn.conf.py", "workers = 2\ndef on_exit(server): print('own on_exit ran')\n")
    gunicorn = wired().start()
    assert len(gunicorn.workers()) == 2
    folder.write("gunicorn.conf.py", "workers = 3\ndef on_exit(server): print('own on_exit ran')\n")
    gunicorn.send(signal.SIGHUP)
    wait(lambda: len(gunicorn.workers()) == 3, "there are three workers")
    wait(gunicorn.answers, "they answer")
    gunicorn.wait_counted("gunicorn_workers", 3)
    gunicorn.stop()
    assert "own on_exit ran" in gunicorn.log


def test_gunicorn_too_can_be_configured_by_the_file(wired, folder, wait):
    folder.write("metrics.yml", "exporter: {gunicorn: {workers: 3, timeout: 7}}")
    gunicorn = wired("--log-level", "debug", GUNICORN_PROMETHEUS_CONFIG="metrics.yml").start()
    gunicorn.wait_counted("gunicorn_workers", 3)
    assert re.search(r"^  timeout: 7$", gunicorn.log, re.MULTILINE)
    # What Gunicorn's own configuration says goes before.
    folder.write("gunicorn.conf.py", "workers = 1\n")
    gunicorn.send(signal.SIGHUP)
    gunicorn.wait_counted("gunicorn_workers", 1)


def test_a_mistake_in_the_users_own_configuration_is_gunicorns_to_report(wired, folder):
    folder.write("gunicorn.conf.py", "workers = two\n")
    gunicorn = wired().start(ready=False)
    assert gunicorn.process.wait(20) == 1
    assert "Failed to read config file" in gunicorn.log
    assert "name 'two' is not defined" in gunicorn.log


def test_importing_the_configuration_does_nothing():
    code = (
        "import sys, gunicorn.arbiter as a; start = a.Arbiter.start\n"
        "import gunicorn_prometheus_exporter.conf\n"
        "assert a.Arbiter.start is start\n"
        "assert 'gunicorn_prometheus_storage_mmap' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


# Other settings while it runs


YAML = """\
exporter:
  prometheus:
    metrics_port: {port}
    bind_address: 127.0.0.1
    multiproc_dir: {pages}
  requests:
    endpoint_limit: {limit}
"""


@pytest.fixture
def reloading(folder, tmp_path):
    """A running server whose settings are in a file, and what writes another one."""
    folder.write(
        "gunicorn.conf.py",
        "from gunicorn_prometheus_exporter import load_yaml_config\n"
        "load_yaml_config('metrics.yml')\n",
    )
    gunicorn = folder.server("-w", "1")
    gunicorn.environment = {}
    values = {"port": gunicorn.metrics_port, "pages": tmp_path / "pages", "limit": 100}

    def write(text=None, **changed):
        folder.write("metrics.yml", text or YAML.format(**values | changed))

    write()
    return gunicorn.start(), write


def test_a_reload_applies_what_can_change(reloading, wait, free_port, watch):
    gunicorn, write = reloading
    for path in ("/a", "/b"):
        gunicorn.get(path)
    elsewhere = free_port()
    write(port=elsewhere, limit=0)
    gunicorn.send(signal.SIGHUP)
    gunicorn.metrics_port = elsewhere
    wait(gunicorn.is_scrapable, lambda: gunicorn.end_of_log)
    wait(lambda: gunicorn.log.count("Booting worker") == 2, "there is another worker")
    wait(lambda: len(gunicorn.workers()) == 1, "the first one has ended")
    wait(gunicorn.answers, "it answers")
    gunicorn.get("/upload", b"xyz")
    counted = gunicorn.wait_counted(
        "gunicorn_http_request_duration_seconds_count", 1, method="POST"
    )
    # Nothing is lost, and the new limit holds.
    assert counted.sum("gunicorn_http_request_duration_seconds_count", endpoint="/upload") == 0
    assert counted.sum("gunicorn_exporter_restarts_total") == 0
    assert counted.sum(REQUESTS) >= 4
    assert "Traceback" not in gunicorn.log


def test_a_reload_says_what_takes_a_restart(reloading, wait, tmp_path):
    gunicorn, write = reloading
    write(pages=tmp_path / "elsewhere", limit=50)
    gunicorn.send(signal.SIGHUP)
    wait(lambda: "takes effect when the server is restarted" in gunicorn.log, "it says so")
    (line,) = [line for line in gunicorn.log.splitlines() if "[WARNING]" in line]
    assert f"exporter.prometheus.multiproc_dir='{tmp_path / 'elsewhere'}' (from " in line
    wait(lambda: gunicorn.log.count("Booting worker") == 2, "there is another worker")
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 1)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mistake", ["exporter: {prometheus: {metrics_port: 0}}", "\t", "- a"])
def test_a_mistake_at_a_reload_changes_nothing(reloading, wait, mistake):
    gunicorn, write = reloading
    gunicorn.get("/")
    exporter = gunicorn.exporter()
    write(mistake)
    gunicorn.send(signal.SIGHUP)
    wait(lambda: "the settings stay as they were" in gunicorn.log, lambda: gunicorn.end_of_log)
    wait(lambda: gunicorn.log.count("Booting worker") == 2, "there is another worker")
    wait(gunicorn.answers, "it answers")
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 2)
    assert gunicorn.exporter() == exporter
    assert gunicorn.scrape().sum("gunicorn_exporter_settings_errors_total") == 1
    assert "Traceback" not in gunicorn.log


def test_a_file_that_is_being_edited_concerns_nobody_until_a_reload(reloading, wait):
    gunicorn, write = reloading
    write("\t")
    for pid in (*gunicorn.workers(), gunicorn.exporter()):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: gunicorn.log.count("Booting worker") == 2, "there is another worker")
    wait(gunicorn.is_scrapable, "there is another exporter")
    wait(gunicorn.answers, "it answers")
    gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 1)


# Hooks

HOOKS = """\
from gunicorn_prometheus_exporter.hooks import (
    default_on_exit, default_on_starting, default_post_fork, default_when_ready, default_worker_int,
)
on_starting = default_on_starting
worker_int = default_worker_int
on_exit = default_on_exit
post_fork = default_post_fork
"""
ONCE = HOOKS + "when_ready = default_when_ready\n"
TWICE = HOOKS + (
    "def when_ready(server):\n    default_when_ready(server)\n    default_when_ready(server)\n"
)
REDIS = HOOKS.replace("default_when_ready,", "default_when_ready, redis_when_ready,") + (
    "when_ready = redis_when_ready\n"
)


@pytest.mark.compat
@pytest.mark.parametrize(
    "hooks", ["", ONCE, TWICE, REDIS], ids=["without", "once", "twice", "redis"]
)
def test_hooks_change_nothing(folder, hooks):
    folder.write("gunicorn.conf.py", hooks)
    gunicorn = folder.server("-w", "2").start()
    for _ in range(5):
        gunicorn.get("/")
    gunicorn.wait_counted("app_hellos_total", 5)
    gunicorn.wait_counted("gunicorn_workers", 2)
    assert len(gunicorn.pids("gunicorn_prometheus_server")) == 1
    assert gunicorn.log.count("Metrics at: ") == 1
    gunicorn.stop()
    assert "Traceback" not in gunicorn.log


def test_after_the_fork_variables_say_how_gunicorn_was_configured(folder):
    folder.write(
        "environment.py",
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    names = ('WORKERS', 'BIND', 'WORKER_CLASS', 'TIMEOUT')\n"
        "    path = environ['PATH_INFO']\n"
        "    said = '|'.join(os.environ.get('GUNICORN_' + name, '') for name in names)\n"
        "    return [b'pong' if path == '/ping' else said.encode()]\n",
    )
    folder.write("gunicorn.conf.py", ONCE + "workers = 4\ntimeout = 300\n")
    gunicorn = folder.server("-w", "2", app="environment:app", GUNICORN_WORKERS="4").start()
    _, said = gunicorn.get("/")
    assert said.decode() == (
        f"2|127.0.0.1:{gunicorn.port}|gunicorn_prometheus_exporter.PrometheusWorker|300"
    )


def test_managers_of_earlier_versions_find_the_metrics_served(folder, wait):
    folder.write(
        "gunicorn.conf.py",
        "import logging\n"
        "from gunicorn_prometheus_exporter.hooks import HookContext, HookManager\n"
        "from gunicorn_prometheus_exporter.hooks import MetricsServerManager, ProcessManager\n"
        "def when_ready(server):\n"
        "    context = HookContext(server=server)\n"
        "    manager = MetricsServerManager(context.logger)\n"
        "    port, registry = manager.setup_server()\n"
        "    print('served at', port, manager.start_server(port, registry))\n"
        "    print('fails', HookManager().safe_execute(lambda: 1 / 0))\n"
        "    ProcessManager(context.logger).cleanup_processes()\n",
    )
    gunicorn = folder.server("-w", "1").start()
    wait(lambda: "fails False" in gunicorn.log, "the hook has run")
    assert f"served at {gunicorn.metrics_port} True" in gunicorn.log
