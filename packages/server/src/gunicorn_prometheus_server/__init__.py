"""The exporter process: serves a storage to Prometheus over HTTP.

The process:

* :mod:`~gunicorn_prometheus_server.__main__`: the program that the master starts
* :mod:`~gunicorn_prometheus_server.sidecar`: without a master
* :mod:`~gunicorn_prometheus_server.health`: whether one that runs is well
* :mod:`~gunicorn_prometheus_server.running`: putting it together
* :mod:`~gunicorn_prometheus_server.serving`: its event loop, its signals, its end

What it answers:

* :mod:`~gunicorn_prometheus_server.app`: paths
* :mod:`~gunicorn_prometheus_server.scrapes`: computing scrapes, one at a time
* :mod:`~gunicorn_prometheus_server.page`: the page at ``/``; what runs in the browser is in files/
* :mod:`~gunicorn_prometheus_server.status`: the object that the page shows
* :mod:`~gunicorn_prometheus_server.tally`: what that is added up from
* :mod:`~gunicorn_prometheus_server.publishing`: a storage that hosts share, beside the pages

Whom, and how:

* :mod:`~gunicorn_prometheus_server.clients`: letting clients in, and making room
* :mod:`~gunicorn_prometheus_server.connection`: a socket, plain or TLS, with time limits
* :mod:`~gunicorn_prometheus_server.exchange`: HTTP/1.1
* :mod:`~gunicorn_prometheus_server.guard`: users and rates
* :mod:`~gunicorn_prometheus_server.passwords`: verifying them
* :mod:`~gunicorn_prometheus_server.refusals`: counting and logging who was refused
* :mod:`~gunicorn_prometheus_server.access`: all that, from settings and files
* :mod:`~gunicorn_prometheus_server.web_config`: the file that exporters have in common
* :mod:`~gunicorn_prometheus_server.tls`: the context for TLS
"""
