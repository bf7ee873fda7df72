"""Metrics over TLS, and only for scrapers that have a certificate of ours.

$ gunicorn -c configurations/ssl.conf.py applications.flask_app:app

Prometheus then needs `scheme: https` and a `tls_config` with ca_file, cert_file and key_file.
"""

import os

os.environ.setdefault("PROMETHEUS_SSL_ENABLED", "true")
os.environ.setdefault("PROMETHEUS_SSL_CERTFILE", "/etc/gunicorn/metrics.crt")
os.environ.setdefault("PROMETHEUS_SSL_KEYFILE", "/etc/gunicorn/metrics.key")
# Leave these two out, and everybody may scrape.
os.environ.setdefault("PROMETHEUS_SSL_CLIENT_CAFILE", "/etc/gunicorn/scrapers.crt")
os.environ.setdefault("PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED", "true")

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
