"""The recording class in place of each of Gunicorn's own, and of classes derived from them."""

from __future__ import annotations

from typing import Any

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.logs import log

from .mixin import PrometheusMixin

#: Names of worker classes -> name of ours in the group of workers.
_KINDS = {
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gunicorn.workers.ggevent.GeventPyWSGIWorker": "gevent_pywsgi",
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
    "gunicorn.workers.geventlet.EventletWorker": "eventlet",
    "gunicorn.workers.gtornado.TornadoWorker": "tornado",
    "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    "uvicorn_worker._workers.UvicornWorker": "uvicorn",
    "uvicorn.workers.UvicornWorker": "uvicorn",
}


def instrumented(worker_class: Any) -> Any:
    """The class to be used in place of this one, which is any of Gunicorn's or derived from one.

    Another one is given back as it is, with a warning. Raises
    :class:`~gunicorn_prometheus_core.errors.MissingPart`.
    """
    if issubclass(worker_class, PrometheusMixin):
        return worker_class
    for base in worker_class.__mro__:
        kind = _KINDS.get(f"{base.__module__}.{base.__qualname__}")
        if kind is None:
            continue
        ours = plugins.load(plugins.WORKERS, kind)
        if base is worker_class:
            return ours
        own = {"CONFIG_KWARGS": worker_class.CONFIG_KWARGS} if kind == "uvicorn" else {}
        return type(f"Prometheus{worker_class.__name__}", (ours, worker_class), own)
    log.warning("%s records nothing: it is not derived from any known worker", worker_class)
    return worker_class
