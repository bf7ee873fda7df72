"""One request at a time in each process: for work that keeps the CPU busy.

$ gunicorn -c configurations/workers/sync.conf.py applications.pyramid_app:app
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
