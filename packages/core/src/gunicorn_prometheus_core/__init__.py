"""What every part of the exporter shares: settings, protocols, catalogue, merge and formats.

Importing this package has no effect beyond defining names; each module can be
imported alone:

* :mod:`~gunicorn_prometheus_core.settings`: every setting, declared once
* :mod:`~gunicorn_prometheus_core.plugins`: looking parts up by entry point
* :mod:`~gunicorn_prometheus_core.storage`: what a storage backend is
* :mod:`~gunicorn_prometheus_core.recording`: what a process records through
* :mod:`~gunicorn_prometheus_core.catalogue`: every metric family, declared once
* :mod:`~gunicorn_prometheus_core.merge`: snapshots of many processes merged into families
* :mod:`~gunicorn_prometheus_core.own`: where the numbers of our own families are
* :mod:`~gunicorn_prometheus_core.exposition`: from snapshots to the text of a scrape
"""
