"""A server behind nginx: metrics for this machine only, logs in files, workers that are recycled.

$ gunicorn -c configurations/production.conf.py applications.django_app:application

/var/log/gunicorn and /run/gunicorn have to exist and belong to the user that starts it;
LogsDirectory= and RuntimeDirectory= in a systemd unit take care of that. After rotating the logs,
send USR1 to the pid in /run/gunicorn/pid.
"""

import os

# Prometheus, or its agent, runs on this machine.
os.environ.setdefault("PROMETHEUS_BIND_ADDRESS", "127.0.0.1")
os.environ.setdefault("PROMETHEUS_METRICS_PORT", "9091")
# In memory, and named, so that other programs can read the pages as well.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "/run/gunicorn/metrics")

bind = "127.0.0.1:8000"
forwarded_allow_ips = "127.0.0.1"
pidfile = "/run/gunicorn/pid"
workers = 4
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
preload_app = True
timeout = 60
graceful_timeout = 30
max_requests = 1000
max_requests_jitter = 50

accesslog = "/var/log/gunicorn/access.log"
errorlog = "/var/log/gunicorn/error.log"
loglevel = "info"
capture_output = True
