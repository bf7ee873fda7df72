"""Several servers, one view: each publishes to Redis, and each shows the metrics of all.

$ REDIS_HOST=127.0.0.1 gunicorn -c configurations/redis.conf.py applications.flask_app:app

Needs `pip install "gunicorn-prometheus-exporter[redis]"`. Requests don't wait for Redis, and
nothing is lost while it is down. If there is a password, put it into a file and name that file in
REDIS_PASSWORD_FILE.
"""

import os

os.environ.setdefault("REDIS_ENABLED", "true")
os.environ.setdefault("REDIS_PORT", "6379")
os.environ.setdefault("REDIS_DB", "0")
# Servers with the same prefix are added up, so give each application its own.
os.environ.setdefault("REDIS_KEY_PREFIX", "shop")
os.environ.setdefault("REDIS_TTL_SECONDS", "300")

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
