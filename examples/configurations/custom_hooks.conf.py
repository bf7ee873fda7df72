"""Hooks of your own. The exporter's hooks are not needed, but do no harm.

$ gunicorn -c configurations/custom_hooks.conf.py applications.flask_app:app

Make no metrics here: this file is executed again at each reload, and prometheus_client refuses a
second metric of the same name. Import them from a module.
"""

from gunicorn_prometheus_exporter import hooks

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"


def on_starting(server):
    server.log.info("The shop is about to open")
    hooks.default_on_starting(server)


def when_ready(server):
    hooks.default_when_ready(server)
    server.log.info("The shop is open")


def post_fork(server, worker):
    hooks.default_post_fork(server, worker)  # sets GUNICORN_WORKERS and others for the application


def worker_int(worker):
    hooks.default_worker_int(worker)
    worker.log.info("A clerk was sent home")


def on_exit(server):
    hooks.default_on_exit(server)
    server.log.info("The shop is closed")
