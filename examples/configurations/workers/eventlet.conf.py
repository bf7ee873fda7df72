"""Greenlets of eventlet, also on Gunicorn 26 and newer, which has no such worker of its own.

$ gunicorn -c configurations/workers/eventlet.conf.py applications.wsgi_app:app

Needs `pip install "gunicorn-prometheus-exporter[eventlet]"`. Eventlet is no longer developed, so
use gevent for new applications.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusEventletWorker"
worker_connections = 1000
