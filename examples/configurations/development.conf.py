"""For development: the application is reloaded whenever a file changes, and counts go on.

$ gunicorn -c configurations/development.conf.py applications.flask_app:app
"""

import os

os.environ.setdefault("PROMETHEUS_BIND_ADDRESS", "127.0.0.1")

bind = "127.0.0.1:8000"
workers = 1
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
reload = True
reload_extra_files = ["configurations/exporter.yml"]  # files that are not modules
accesslog = "-"
errorlog = "-"
loglevel = "debug"
