"""Gunicorn worker classes that record what they do.

* :mod:`~gunicorn_prometheus_workers.mixin`: what makes a worker record
* :mod:`~gunicorn_prometheus_workers.counterparts`: a recording class for each of Gunicorn's
* :mod:`~gunicorn_prometheus_workers.lifecycle`: recording a worker's life
* :mod:`~gunicorn_prometheus_workers.requests`: recording requests
* :mod:`~gunicorn_prometheus_workers.hooks`, :mod:`~gunicorn_prometheus_workers.asgi`,
  :mod:`~gunicorn_prometheus_workers.pywsgi`: seeing requests on WSGI workers, in ASGI
  applications, and in gevent's own server
* :mod:`~gunicorn_prometheus_workers.routing`: finding their routes, with a module for each
  framework in :mod:`~gunicorn_prometheus_workers.routes`
* :mod:`~gunicorn_prometheus_workers.labels`: keeping label values few
* :mod:`~gunicorn_prometheus_workers.counters`: counting failures
* :mod:`~gunicorn_prometheus_workers.queueing`: how long requests wait
* :mod:`~gunicorn_prometheus_workers.sizes`: bytes really read and sent
* ``sync``, ``gthread``, ``gevent``, ``eventlet``, ``tornado``, ``gasgi``, ``uvicorn``: a module per
  kind of worker, to be imported only where its library is installed
"""
