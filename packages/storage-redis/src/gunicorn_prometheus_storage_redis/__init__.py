"""Many hosts, one view, through Redis.

Processes record into the pages of storage-mmap. The exporter process of each
host publishes what its pages hold and collects what the others have
published; nothing else talks to Redis.

* :mod:`~gunicorn_prometheus_storage_redis.backend`: the entry point
* :mod:`~gunicorn_prometheus_storage_redis.storage`: the storage
* :mod:`~gunicorn_prometheus_storage_redis.connection`: getting at Redis
* :mod:`~gunicorn_prometheus_storage_redis.names`: the keys
* :mod:`~gunicorn_prometheus_storage_redis.encoding`: what is stored in them
* :mod:`~gunicorn_prometheus_storage_redis.outgoing`: what this host has to publish
* :mod:`~gunicorn_prometheus_storage_redis.incoming`: what another host has published
* :mod:`~gunicorn_prometheus_storage_redis.remarks`: exemplars, Info and Enum, in either direction
* :mod:`~gunicorn_prometheus_storage_redis.view`: all of it together
* :mod:`~gunicorn_prometheus_storage_redis.care`: what is done for others
* :mod:`~gunicorn_prometheus_storage_redis.membership`: who is dead
* :mod:`~gunicorn_prometheus_storage_redis.archive`: the counts of the dead
* :mod:`~gunicorn_prometheus_storage_redis.counts`: how counts are added up
* :mod:`~gunicorn_prometheus_storage_redis.compatibility` and
  :mod:`~gunicorn_prometheus_storage_redis.compatible_values`: names of earlier versions
* :mod:`~gunicorn_prometheus_storage_redis.run`: which run of a host this is
"""
