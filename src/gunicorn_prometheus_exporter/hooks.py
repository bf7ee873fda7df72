"""The documented hooks for Gunicorn's configuration, and the names beside them.

None of them is needed: whatever a server does with metrics it does by itself,
once, whether the hooks are set or not. They tell what happens to the logger of
this module, and ``default_post_fork`` fills some variables. The classes are
there for configurations that were written for earlier versions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gunicorn_prometheus_core import configuration

log = logging.getLogger(__name__)


def default_on_starting(server: Any) -> None:
    """Gunicorn's ``on_starting``."""
    log.info("Server starting")


def default_when_ready(server: Any) -> None:
    """Gunicorn's ``when_ready``: the metrics endpoint is there from now on, if it can be."""
    manager = MetricsServerManager(log)
    served = manager.setup_server()
    if served is not None:
        manager.start_server(*served)


def redis_when_ready(server: Any) -> None:
    """``default_when_ready``, for a server whose metrics are kept in Redis."""
    if configuration.in_force().storage != "redis":
        log.warning("redis_when_ready is set, but REDIS_ENABLED is not true: Redis is not used")
    default_when_ready(server)


def redis_sidecar_when_ready(server: Any) -> None:
    """``redis_when_ready`` where a sidecar serves the metrics (``SIDECAR_MODE``)."""
    if configuration.in_force().sidecar_mode:
        log.info("Metrics are served by a sidecar")
    else:
        redis_when_ready(server)


def default_post_fork(server: Any, worker: Any) -> None:
    """Gunicorn's ``post_fork``: let variables say how Gunicorn was configured."""
    EnvironmentManager(log).update_from_cli(worker.cfg)


def default_worker_int(worker: Any) -> None:
    """Gunicorn's ``worker_int``."""
    log.info("Worker %s received interrupt signal", worker.pid)


def default_on_exit(server: Any) -> None:
    """Gunicorn's ``on_exit``."""
    log.info("Server shutting down")


@dataclass
class HookContext:
    """What a hook is about."""

    server: Any
    worker: Any = None
    logger: logging.Logger = field(default=log)


class HookManager:
    """Calls what must not fail."""

    def __init__(self) -> None:
        self.logger = log

    def get_logger(self) -> logging.Logger:
        """The logger of this module."""
        return self.logger

    def safe_execute(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Call it, and log an error that it raises; whether there was none."""
        try:
            func(*args, **kwargs)
        except Exception:
            self.logger.exception("a hook failed")
            return False
        return True


class EnvironmentManager:
    """Lets variables of a worker's process say how Gunicorn was configured."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def update_from_cli(self, cfg: Any) -> None:
        """Set ``GUNICORN_WORKERS``, ``_BIND``, ``_WORKER_CLASS`` and ``_TIMEOUT``."""
        given = cfg.settings["worker_class"].get()
        values = {
            "GUNICORN_WORKERS": str(cfg.workers),
            "GUNICORN_BIND": ",".join(cfg.bind),
            "GUNICORN_WORKER_CLASS": given if isinstance(given, str) else _dotted(given),
            "GUNICORN_TIMEOUT": str(cfg.timeout),
        }
        for name, value in values.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
                self.logger.info("Updated %s from CLI: %s", name, value)


def _dotted(given: type) -> str:
    return f"{given.__module__}.{given.__qualname__}"


class MetricsServerManager:
    """Asks the master whether it serves the metrics; it does so by itself."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def setup_server(self) -> tuple[int, Any] | None:
        """The port, and :data:`gunicorn_prometheus_exporter.registry`.

        None where this server serves no metrics: it is no PrometheusMaster, or a sidecar serves.
        """
        from .metrics import registry

        settings = configuration.in_force()
        if _master() is None:
            self.logger.warning("no metrics are served: worker_class is none that records")
            return None
        if settings.sidecar_mode:
            return None
        return settings.metrics_port, registry

    def start_server(self, port: int, registry: Any) -> bool:
        """Whether the metrics are served. The arguments are those of earlier versions."""
        master = _master()
        return master is not None and master.metrics_are_served

    def stop_server(self) -> None:
        """Nothing to do: the master ends its exporter last."""


def _master() -> Any:
    from gunicorn_prometheus_master import PrometheusMaster

    return PrometheusMaster.running


class WorkerManager:
    """A worker records and ends by itself."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def update_worker_metrics(self, worker: Any) -> None:
        """Let a worker record what has changed, without waiting for its heartbeat."""
        worker.tick()

    def shutdown_worker(self, worker: Any) -> None:
        """Nothing to do: Gunicorn ends its workers."""


class ProcessManager:
    """The master leaves no process behind by itself."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def cleanup_processes(self) -> None:
        """Nothing to do: the exporter process ends with its master."""
