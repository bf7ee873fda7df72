"""Tornado, for applications written for it.

$ gunicorn -c configurations/workers/tornado.conf.py applications.tornado_app:app

Needs `pip install "gunicorn-prometheus-exporter[tornado]"`.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusTornadoWorker"
