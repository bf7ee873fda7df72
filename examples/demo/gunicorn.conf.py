"""An ordinary configuration: worker_class is all that the metrics need.

cd examples/demo && gunicorn app:app
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"

# Few, so that you see workers being replaced while their counts go on.
max_requests = 100
max_requests_jitter = 50

graceful_timeout = 5
