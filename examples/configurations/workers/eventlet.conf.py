"""Greenlets of eventlet, also on Gunicorn 26 and newer, which have no such worker themselves.

$ gunicorn -c configurations/workers/eventlet.conf.py applications.wsgi_app:app

Needs `pip install "gunicorn-prometheus-exporter[eventlet]"`. Eventlet is no longer developed: take
gevent for what is new.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusEventletWorker"
worker_connections = 1000
