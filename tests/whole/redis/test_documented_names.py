"""What the documents of earlier versions show, as it is written there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

CORE = "RedisStorageClient RedisStorageDict RedisValue RedisMultiProcessCollector RedisDict"
SERVICE = "RedisStorageManager setup_redis_metrics teardown_redis_metrics get_redis_storage_manager"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("backend.core", f"{CORE} StorageDictProtocol"),
        ("backend.service", SERVICE),
        ("backend", f"{CORE} {SERVICE}"),
        ("storage", "get_redis_storage_manager setup_redis_metrics RedisMultiProcessCollector"),
    ],
)
def test_the_names_are_there(module, names):
    found = importlib.import_module(f"gunicorn_prometheus_exporter.{module}")
    for name in names.split():
        assert getattr(found, name).__name__ in (name, "RedisStorageDict")
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        found.Missing  # noqa: B018


def run(code, redis_server, redis_settings, **more):
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROMETHEUS_", "REDIS_", "GUNICORN_"))
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | redis_settings | {"REDIS_PORT": str(redis_server.port)} | more,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


SNIPPET = """
from prometheus_client import CollectorRegistry, generate_latest
registry = CollectorRegistry()

from gunicorn_prometheus_exporter.storage import get_redis_storage_manager
manager = get_redis_storage_manager()
collector = manager.get_collector()
registry.register(collector)

print(generate_latest(registry).decode())
"""


def test_the_collector_gives_what_the_exporter_gives(server, redis_server, redis_settings, wait):
    redis_server.cli("flushall")
    gunicorn = server("-w", "2", **redis_settings, REDIS_PORT=str(redis_server.port)).start()
    for path in ("/", "/", "/fail"):
        gunicorn.get(path)
    done = wait(lambda: shown(redis_server, redis_settings), "it is collected")
    for line in (
        "app_hellos_total 2.0",
        "# TYPE gunicorn_worker_request_duration_seconds histogram",
        "# TYPE gunicorn_worker_failed_requests untyped",
        "gunicorn_workers 2.0",
    ):
        assert line in done.splitlines()
    assert 'gunicorn_worker_failed_requests{endpoint="' in done


def shown(redis_server, redis_settings):
    done = run(SNIPPET, redis_server, redis_settings)
    assert done.returncode == 0, done.stderr
    return "app_hellos_total 2.0" in done.stdout and done.stdout


SCRIPT = """
from gunicorn_prometheus_exporter.backend.service import (
    get_redis_storage_manager, setup_redis_metrics, teardown_redis_metrics,
)
from prometheus_client import Counter
jobs = Counter("jobs", "Jobs done.")
jobs.inc(3)
assert setup_redis_metrics() is True
assert setup_redis_metrics() is True
manager = get_redis_storage_manager()
assert manager.is_enabled() and manager.is_connected()
jobs.inc(4)
teardown_redis_metrics()
"""


def test_another_process_can_publish_its_metrics(redis_server, redis_settings):
    redis_server.cli("flushall")
    for _ in range(2):
        done = run(SCRIPT, redis_server, redis_settings)
        assert (done.returncode, done.stderr) == (0, "")
    done = run(SNIPPET, redis_server, redis_settings)
    assert "jobs_total 14.0" in done.stdout


def test_nothing_is_set_up_where_redis_is_not_enabled(redis_server, redis_settings):
    code = "from gunicorn_prometheus_exporter.backend import *\nassert not setup_redis_metrics()"
    done = run(code, redis_server, redis_settings, REDIS_ENABLED="false")
    assert (done.returncode, done.stderr) == (0, "")


def test_without_redis_the_collector_gives_nothing_and_says_why(redis_server, redis_settings):
    done = run(
        SNIPPET.replace("manager =", "import os; os.environ['REDIS_PORT'] = '1'; manager ="),
        redis_server,
        redis_settings,
    )
    assert done.returncode == 0
    assert done.stderr.count("can't collect the metrics of all hosts: Redis at 127.0.0.1:1") == 1


VALUES = """
from gunicorn_prometheus_exporter.backend.core import (
    RedisStorageClient, RedisStorageDict, RedisValue, StorageDictProtocol,
)
storage: StorageDictProtocol = RedisStorageDict(None, "gunicorn")
key = '["a", "a_total", {}, "help"]'
assert storage.read_value(key) == (0.0, 0.0)
storage.write_value(key, 3.0, 17.0)
assert storage.read_value(key) == (3.0, 0.0)
storage.write_value('["l", "l", {}, "help"]', 4.0, 17.0, "gauge", "max")
assert list(storage.read_all_values()) == [
    (key, 3.0, 0.0), ('["l", "l", {}, "help"]', 4.0, 17.0)
]
value = RedisValue("counter", "a", "a_total", [], [], "help")
value.inc(2.0)
assert value.get() == storage.read_value(key)[0] == 5.0
gauge = RedisValue("gauge", "g", "g", ["l"], ["x"], "help", "max")
gauge.set(7.0, timestamp=5.0)
assert (gauge.get(), gauge.get_timestamp()) == (7.0, 5.0)
client = RedisStorageClient(None)
assert client.get_value_class() is RedisValue and client.get_client() is None
client.cleanup_process_keys(1)
storage.close()
"""


def test_values_can_be_read_and_written(redis_server, redis_settings):
    done = run(VALUES, redis_server, redis_settings)
    assert (done.returncode, done.stderr) == (0, "")
