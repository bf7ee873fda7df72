"""Importing any of our modules patches, opens, starts and logs nothing."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

DISTRIBUTIONS = [
    f"gunicorn-prometheus-{part}"
    for part in ("core", "storage-mmap", "storage-redis", "workers", "master", "server", "exporter")
]


def modules() -> list[str]:
    """Every module of ours that is installed."""
    found = []
    for point in DISTRIBUTIONS:
        package = importlib.import_module(point.replace("-", "_"))
        found.append(package.__name__)
        found += (m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + "."))
    return found


PROBE = """
import importlib, json, logging, os, signal, sys, threading

# What others bring along is there before we look.
import gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.sync, gunicorn.workers.gthread
import gunicorn.http.wsgi, prometheus_client, prometheus_client.values, psutil, redis, uvicorn
import asyncio, ctypes, gzip, json, pwd, subprocess

def state():
    return {
        "threads": threading.active_count(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "signals": [str(signal.getsignal(n)) for n in signal.valid_signals()],
        "environment": dict(os.environ),
        "value class": str(prometheus_client.values.ValueClass),
        "metrics": sorted(prometheus_client.REGISTRY._names_to_collectors),
        "arbiter": {k: str(v) for k, v in vars(gunicorn.arbiter.Arbiter).items()},
        "response": str(gunicorn.http.wsgi.Response),
        "handlers": [str(h) for h in logging.getLogger().handlers],
        "level": logging.getLogger().level,
        "hooks": str((sys.excepthook, threading.excepthook)),
        "directory": sorted(os.listdir(".")),
    }

# Each in a process of its own, forked from this one, which has loaded all that once.
for name in sys.argv[1:]:
    if (pid := os.fork()) == 0:
        before = state()
        importlib.import_module(name)
        after = state()
        changed = {k: [before[k], after[k]] for k in before if before[k] != after[k]}
        print(json.dumps([name, changed]), flush=True)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0, name
"""


def probe(code, names, folder):
    """What has changed, by module."""
    # Eventlet warns of itself.
    command = [sys.executable, "-W", "ignore", "-c", code, *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.timeout(180)
def test_importing_changes_nothing(tmp_path):
    names = modules()
    assert len(names) > 100
    assert probe(PROBE, names, tmp_path) == {name: {} for name in names}


def test_naming_a_worker_class_of_the_facade_changes_nothing(tmp_path):
    code = PROBE.replace(
        "importlib.import_module(name)",
        "from gunicorn_prometheus_exporter import PrometheusMaster, PrometheusThreadWorker, "
        "PrometheusWorker",
    )
    assert probe(code, ["names"], tmp_path) == {"names": {}}
