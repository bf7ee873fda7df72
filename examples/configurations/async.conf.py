"""For requests that mostly wait, for databases or other services: a few processes with greenlets.

$ gunicorn -c configurations/async.conf.py applications.flask_app:app

Needs `pip install "gunicorn-prometheus-exporter[gevent]"`. For an application that is written with
`async` and `await`, see workers/asgi.conf.py and workers/uvicorn.conf.py. How many requests are in
progress is in `gunicorn_worker_requests_in_progress`.
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusGeventWorker"
worker_connections = 1000
timeout = 60
keepalive = 5
max_requests = 20_000
max_requests_jitter = 2_000
