"""Prometheus metrics for Gunicorn: the names to write into a Gunicorn configuration.

``worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"`` is all a
server needs. Each name is looked up in the distribution that has it when it is
first used, so only what is used has to be installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gunicorn_prometheus_master import PrometheusMaster
    from gunicorn_prometheus_workers.gthread import PrometheusThreadWorker
    from gunicorn_prometheus_workers.sync import PrometheusWorker

__all__ = ["PrometheusMaster", "PrometheusThreadWorker", "PrometheusWorker"]

#: name -> module that has it, distribution that brings the module
_HOMES = {
    "PrometheusWorker": ("gunicorn_prometheus_workers.sync", "gunicorn-prometheus-workers"),
    "PrometheusThreadWorker": (
        "gunicorn_prometheus_workers.gthread",
        "gunicorn-prometheus-workers",
    ),
    "PrometheusMaster": ("gunicorn_prometheus_master", "gunicorn-prometheus-master"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, distribution = _HOMES[name]
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name != home.partition(".")[0]:
            raise
        raise ImportError(
            f"{name} is not installed: pip install {distribution}", name=error.name
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
