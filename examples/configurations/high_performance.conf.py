"""For much traffic: threads, so that a process serves while it waits; one load of the application.

$ gunicorn -c configurations/high_performance.conf.py applications.falcon_app:app

To see whether there are enough threads, divide `rate(gunicorn_worker_busy_seconds_total[5m])` by
`gunicorn_worker_capacity`: it is near 1 when all of them are busy.
"""

import os

bind = "127.0.0.1:8000"
backlog = 2048
workers = len(os.sched_getaffinity(0)) + 1
worker_class = "gunicorn_prometheus_exporter.PrometheusThreadWorker"
threads = 8
keepalive = 5
preload_app = True

# Workers are replaced now and then, not all at the same time. Their counts go on.
max_requests = 50_000
max_requests_jitter = 5_000
