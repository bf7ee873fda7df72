"""Greenlets of gevent: for very many requests that wait.

$ gunicorn -c configurations/workers/gevent.conf.py applications.wsgi_app:app

Needs `pip install "gunicorn-prometheus-exporter[gevent]"`.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusGeventWorker"
worker_connections = 1000
