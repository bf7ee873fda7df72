"""Prometheus metrics for Gunicorn: the names to write into a Gunicorn configuration.

``worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"`` is all a
server needs. Each name is looked up in the distribution that has it when it is
first used, so only what is used has to be installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_prometheus_core.configuration import load_yaml_config
    from gunicorn_prometheus_master import PrometheusMaster
    from gunicorn_prometheus_workers.eventlet import PrometheusEventletWorker
    from gunicorn_prometheus_workers.gasgi import PrometheusASGIWorker
    from gunicorn_prometheus_workers.gevent import (
        PrometheusGeventPyWSGIWorker,
        PrometheusGeventWorker,
    )
    from gunicorn_prometheus_workers.gthread import PrometheusThreadWorker
    from gunicorn_prometheus_workers.sync import PrometheusWorker
    from gunicorn_prometheus_workers.tornado import PrometheusTornadoWorker
    from gunicorn_prometheus_workers.uvicorn import PrometheusUvicornWorker

    from .config import (
        ConfigManager,
        ConfigState,
        ExporterConfig,
        cleanup_config,
        get_config,
        get_config_manager,
        initialize_config,
    )
    from .metrics import registry

__all__ = [
    "ConfigManager",
    "ConfigState",
    "ExporterConfig",
    "PrometheusASGIWorker",
    "PrometheusEventletWorker",
    "PrometheusGeventPyWSGIWorker",
    "PrometheusGeventWorker",
    "PrometheusMaster",
    "PrometheusThreadWorker",
    "PrometheusTornadoWorker",
    "PrometheusUvicornWorker",
    "PrometheusWorker",
    "RedisStorageManager",
    "cleanup_config",
    "get_config",
    "get_config_manager",
    "get_prometheus_eventlet_worker",
    "get_prometheus_gevent_worker",
    "get_redis_storage_manager",
    "initialize_config",
    "is_redis_enabled",
    "load_yaml_config",
    "registry",
    "setup_redis_metrics",
    "teardown_redis_metrics",
]

#: name -> module that has it; a module's package is named like the distribution that brings it
_HOMES = {
    "PrometheusASGIWorker": "gunicorn_prometheus_workers.gasgi",
    "PrometheusEventletWorker": "gunicorn_prometheus_workers.eventlet",
    "PrometheusGeventPyWSGIWorker": "gunicorn_prometheus_workers.gevent",
    "PrometheusGeventWorker": "gunicorn_prometheus_workers.gevent",
    "PrometheusMaster": "gunicorn_prometheus_master",
    "PrometheusThreadWorker": "gunicorn_prometheus_workers.gthread",
    "PrometheusTornadoWorker": "gunicorn_prometheus_workers.tornado",
    "PrometheusUvicornWorker": "gunicorn_prometheus_workers.uvicorn",
    "PrometheusWorker": "gunicorn_prometheus_workers.sync",
    "load_yaml_config": "gunicorn_prometheus_core.configuration",
    "registry": f"{__name__}.metrics",
    **dict.fromkeys(
        (
            "ConfigManager",
            "ConfigState",
            "ExporterConfig",
            "cleanup_config",
            "get_config",
            "get_config_manager",
            "initialize_config",
        ),
        f"{__name__}.config",
    ),
    **dict.fromkeys(
        (
            "RedisStorageManager",
            "get_redis_storage_manager",
            "is_redis_enabled",
            "setup_redis_metrics",
            "teardown_redis_metrics",
        ),
        f"{__name__}.storage",
    ),
}


def get_prometheus_eventlet_worker() -> Any:
    """PrometheusEventletWorker."""
    return __getattr__("PrometheusEventletWorker")


def get_prometheus_gevent_worker() -> Any:
    """PrometheusGeventWorker."""
    return __getattr__("PrometheusGeventWorker")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    package = home.partition(".")[0]
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"{name} is not installed: pip install {package.replace('_', '-')}", name=package
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
