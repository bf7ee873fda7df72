"""The conformance suite: what every storage backend has to do, as tests to subclass.

A backend's tests are a :class:`Place`, which says how to get at the place it keeps things in
without the backend, and a subclass of :class:`SharedStorageTests`; docs/how-to/backends.md shows
both. The rules are those of :mod:`gunicorn_prometheus_core.storage`; a test that fails says which
one was broken, and where it is written.

Needs pytest, which is in no other part of this package:
``pip install 'gunicorn-prometheus-core[testing]'``.

* :mod:`~gunicorn_prometheus_core.testing.suite` and
  :mod:`~gunicorn_prometheus_core.testing.telling`: what every backend does
* :mod:`~gunicorn_prometheus_core.testing.sharing`, :mod:`~gunicorn_prometheus_core.testing.faults`
  and :mod:`~gunicorn_prometheus_core.testing.ends`: what those do that hosts share
* :mod:`~gunicorn_prometheus_core.testing.place`: getting past the backend
* :mod:`~gunicorn_prometheus_core.testing.hosts`: hosts that record, publish and look, as tests do
* :mod:`~gunicorn_prometheus_core.testing.publisher`: a host that is a process of its own
* :mod:`~gunicorn_prometheus_core.testing.seeing`: what tests look at
* :mod:`~gunicorn_prometheus_core.testing.rules`: how rules are explained, and kept from being lost
* :mod:`~gunicorn_prometheus_core.testing.plugin`: the fixtures, as a plugin of pytest
"""

from importlib.util import find_spec

if find_spec("pytest") is None:
    raise ImportError("the conformance suite needs pytest: pip install pytest")

from .ends import EndTests
from .faults import FaultTests
from .hosts import Host
from .place import Place
from .rules import RuleBroken, instead
from .sharing import SharingTests
from .telling import TellingTests

__all__ = ["Host", "Place", "RuleBroken", "SharedStorageTests", "StorageTests", "instead"]


class StorageTests(TellingTests):
    """What every backend has to do."""


class SharedStorageTests(SharingTests, FaultTests, EndTests, StorageTests):
    """What a backend that hosts share has to do: every backend but the one that reads pages."""
