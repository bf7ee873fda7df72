"""Gunicorn's own worker for ASGI applications; needs Gunicorn 24 or newer.

$ gunicorn -c configurations/workers/asgi.conf.py applications.fastapi_app:app
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusASGIWorker"
worker_connections = 1000
