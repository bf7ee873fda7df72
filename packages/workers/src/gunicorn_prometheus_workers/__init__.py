"""Gunicorn worker classes that record what they do.

* :mod:`~gunicorn_prometheus_workers.mixin`: what makes a worker record
* :mod:`~gunicorn_prometheus_workers.requests`: recording a request
* :mod:`~gunicorn_prometheus_workers.labels`: keeping label values few
* :mod:`~gunicorn_prometheus_workers.sizes`: bytes really read and sent
* :mod:`~gunicorn_prometheus_workers.sync`, :mod:`~gunicorn_prometheus_workers.gthread`:
  one class per kind of worker
"""
