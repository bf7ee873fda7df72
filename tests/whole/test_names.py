"""The names that configurations of version 0.2 import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

import gunicorn_prometheus_exporter as exporter
from gunicorn_prometheus_core.configuration import FILE_VARIABLE
from gunicorn_prometheus_core.errors import SettingsError


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setenv(FILE_VARIABLE, "")
    monkeypatch.setenv("REDIS_PORT", "")
    yield
    exporter.cleanup_config()


def test_every_name_is_there():
    # In a process of its own: eventlet changes the one that imports it.
    code = (
        "import gunicorn_prometheus_exporter as exporter\n"
        "for name in exporter.__all__:\n"
        "    assert getattr(exporter, name) is not None\n"
        "    assert name in dir(exporter)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=30)


def test_the_functions_give_the_classes():
    assert exporter.get_prometheus_gevent_worker() is exporter.PrometheusGeventWorker


def test_the_settings_have_the_names_of_earlier_versions(monkeypatch):
    monkeypatch.setenv("PROMETHEUS_METRICS_PORT", "9092")
    monkeypatch.setenv("PROMETHEUS_SSL_CERTFILE", "/etc/cert.pem")
    config = exporter.get_config()
    assert config.prometheus_metrics_port == 9092
    assert config.prometheus_bind_address == "0.0.0.0"
    assert config.prometheus_multiproc_dir is None
    assert config.prometheus_ssl_enabled is True
    assert (config.gunicorn_workers, config.redis_port, config.redis_enabled) == (1, 6379, False)
    assert (config.gunicorn_timeout, config.gunicorn_keepalive) == (30, 2)
    assert config.get_gunicorn_config() == {"workers": 1, "timeout": 30, "keepalive": 2}
    assert config.get_prometheus_config()["port"] == 9092
    assert config.validate()
    with pytest.raises(AttributeError, match="'redis_colour' is not a setting"):
        config.redis_colour  # noqa: B018  asking is the test


def test_a_manager_reads_the_settings_and_forgets_them(tmp_path, monkeypatch):
    manager = exporter.get_config_manager()
    assert manager.state is exporter.ConfigState.UNINITIALIZED
    file = tmp_path / "metrics.yml"
    file.write_text("exporter: {prometheus: {metrics_port: 9093}}")
    monkeypatch.setenv("REDIS_DB", "")
    exporter.initialize_config(str(file), REDIS_DB=3)
    assert manager.state is exporter.ConfigState.INITIALIZED
    assert exporter.get_config().prometheus_metrics_port == 9093
    assert exporter.get_config().redis_db == 3
    file.write_text("exporter: {prometheus: {metrics_port: none}}")
    with pytest.raises(SettingsError):
        manager.reload_config()
    assert manager.state is exporter.ConfigState.ERROR
    assert len(manager.validation_errors) == 1
    exporter.cleanup_config()
    assert manager.state is exporter.ConfigState.UNINITIALIZED


def test_the_registry_is_one():
    assert isinstance(exporter.registry, CollectorRegistry)


@pytest.mark.parametrize("module", ["", ".hooks", ".config", ".metrics", ".storage", ".conf"])
def test_importing_activates_nothing(module):
    code = (
        "import gunicorn.arbiter, prometheus_client.values as values\n"
        "start, kind = gunicorn.arbiter.Arbiter.start, values.ValueClass\n"
        f"import gunicorn_prometheus_exporter{module}\n"
        "assert gunicorn.arbiter.Arbiter.start is start\n"
        "assert values.ValueClass is kind\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
