"""A registry for metrics that shall not be in prometheus_client's default one.

Metrics are recorded whatever registry they are in, and all of them are on the
metrics endpoint.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

registry = CollectorRegistry()
