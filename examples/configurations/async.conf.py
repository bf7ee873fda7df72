"""Requests that mostly wait, for databases or other services: a few processes of greenlets.

$ gunicorn -c configurations/async.conf.py applications.flask_app:app

Needs `pip install "gunicorn-prometheus-exporter[gevent]"`. An application that is written for
`async` and `await` takes workers/asgi.conf.py or workers/uvicorn.conf.py. How many requests are
under way is in `gunicorn_worker_requests_in_progress`.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusGeventWorker"
worker_connections = 1000
timeout = 60
keepalive = 5
max_requests = 20_000
max_requests_jitter = 2_000
