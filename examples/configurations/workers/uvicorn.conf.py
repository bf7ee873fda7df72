"""Uvicorn, for ASGI applications.

$ gunicorn -c configurations/workers/uvicorn.conf.py applications.fastapi_app:app

Needs `pip install "gunicorn-prometheus-exporter[uvicorn]"`.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusUvicornWorker"
