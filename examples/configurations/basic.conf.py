"""The minimum: the class of the workers. Metrics are at port 9091.

$ gunicorn -c configurations/basic.conf.py applications.flask_app:app
"""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
