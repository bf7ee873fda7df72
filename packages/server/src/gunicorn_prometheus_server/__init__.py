"""The exporter process: serves a storage to Prometheus over HTTP.

* :mod:`~gunicorn_prometheus_server.__main__`: the program
* :mod:`~gunicorn_prometheus_server.app`: what it answers
* :mod:`~gunicorn_prometheus_server.scrapes`: computing scrapes, one at a time
* :mod:`~gunicorn_prometheus_server.page`: the page at ``/``; what runs in the browser is in files/
* :mod:`~gunicorn_prometheus_server.status`: the object that the page shows
* :mod:`~gunicorn_prometheus_server.tally`: what that is added up from
* :mod:`~gunicorn_prometheus_server.publishing`: a storage that hosts share, beside the pages
* :mod:`~gunicorn_prometheus_server.serving`: the process around it
"""
