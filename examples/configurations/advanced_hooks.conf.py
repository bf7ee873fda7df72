"""Hooks with the classes that earlier versions of the exporter had for them.

$ gunicorn -c configurations/advanced_hooks.conf.py applications.flask_app:app

This is for configurations that already use them. The exporter does all of it by itself, so a new
configuration needs worker_class only.
"""

import logging

from gunicorn_prometheus_exporter.hooks import (
    EnvironmentManager,
    HookContext,
    HookManager,
    MetricsServerManager,
    ProcessManager,
    WorkerManager,
    default_on_starting,
)

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger("shop")


def announce(context):
    """Say where the metrics are."""
    manager = MetricsServerManager(context.logger)
    served = manager.setup_server()
    if served is None:
        context.logger.warning("Nobody serves metrics")
        return
    port, registry = served
    if manager.start_server(port, registry):
        context.logger.info("Metrics are served on port %s", port)


def when_ready(server):
    # An error in it is logged and ends there.
    HookManager().safe_execute(announce, HookContext(server=server, logger=logger))


def post_fork(server, worker):
    EnvironmentManager(logger).update_from_cli(worker.cfg)


def worker_int(worker):
    WorkerManager(logger).update_worker_metrics(worker)


def on_exit(server):
    ProcessManager(logger).cleanup_processes()
    logger.info("The shop is closed")


on_starting = default_on_starting
