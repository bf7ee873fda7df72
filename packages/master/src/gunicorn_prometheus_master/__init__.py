"""What only Gunicorn's master sees, and keeping the exporter process alive.

* :mod:`~gunicorn_prometheus_master.activation`: how a running Arbiter becomes PrometheusMaster
* :mod:`~gunicorn_prometheus_master.arbiter`: PrometheusMaster
* :mod:`~gunicorn_prometheus_master.exits`: why a worker ended
* :mod:`~gunicorn_prometheus_master.handover`: what an upgrade hands to the new master
* :mod:`~gunicorn_prometheus_master.exporter`: the exporter process, seen from the master
* :mod:`~gunicorn_prometheus_master.sampling`: memory, CPU and more of the workers; runs in the
  exporter process
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arbiter import PrometheusMaster

__all__ = ["PrometheusMaster"]


def __getattr__(name: str) -> Any:
    # Late, so that the exporter process doesn't load Gunicorn for the sake of sampling.
    if name == "PrometheusMaster":
        from .arbiter import PrometheusMaster

        return PrometheusMaster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
