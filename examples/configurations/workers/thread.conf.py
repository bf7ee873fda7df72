"""Threads in each process: for requests that wait now and then.

$ gunicorn -c configurations/workers/thread.conf.py applications.flask_app:app
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusThreadWorker"
threads = 4
