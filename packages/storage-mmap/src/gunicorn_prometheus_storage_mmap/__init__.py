"""Recording into memory-mapped pages, and reading them back.

A page is a file in the format of prometheus_client's multiprocess ``.db``
files. A process records into the pages of a *slot* that it owns while it
lives; its successor in the slot continues its counters.

* :mod:`~gunicorn_prometheus_storage_mmap.layout`: the bytes of a page
* :mod:`~gunicorn_prometheus_storage_mmap.page`: a page being recorded into
* :mod:`~gunicorn_prometheus_storage_mmap.slots`: owning a name while alive
* :mod:`~gunicorn_prometheus_storage_mmap.recorder`: this process's slot and pages
* :mod:`~gunicorn_prometheus_storage_mmap.saying`: what it says beside numbers
* :mod:`~gunicorn_prometheus_storage_mmap.values`: prometheus_client on our cells
* :mod:`~gunicorn_prometheus_storage_mmap.reading`: a page being read
* :mod:`~gunicorn_prometheus_storage_mmap.owners`: who owns the slots
* :mod:`~gunicorn_prometheus_storage_mmap.reader`: everybody's pages as snapshots
* :mod:`~gunicorn_prometheus_storage_mmap.directory`: making, emptying and removing the directory
* :mod:`~gunicorn_prometheus_storage_mmap.backend`: all of it behind one entry point
"""
