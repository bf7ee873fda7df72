"""The exporter's settings in a YAML file, Gunicorn's here.

$ gunicorn -c configurations/yaml.conf.py applications.flask_app:app

Environment variables take precedence over the file: PROMETHEUS_METRICS_PORT=9092 would move the
metrics. With one_flag.yml there is no Python file at all.
"""

from pathlib import Path

from gunicorn_prometheus_exporter import load_yaml_config

load_yaml_config(Path(__file__).with_name("exporter.yml"))

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gunicorn_prometheus_exporter.PrometheusWorker"
