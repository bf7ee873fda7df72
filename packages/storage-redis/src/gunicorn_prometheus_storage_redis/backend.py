"""The entry point ``redis`` of ``gunicorn_prometheus.storage``.

Masters look at it, and their workers are forks: redis-py is for the exporter process to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gunicorn_prometheus_core.settings import Option, Settings
from gunicorn_prometheus_core.storage import EXPIRES, REMARKS, REMOVALS, RETIRES

if TYPE_CHECKING:
    from .storage import RedisStorage


class RedisBackend:
    """See :class:`gunicorn_prometheus_core.storage.Backend`. Has no state of its own."""

    protocol = 1
    capabilities = frozenset({RETIRES, EXPIRES, REMARKS, REMOVALS})
    #: None of its own: the settings of Redis are declared in core.
    options: Sequence[Option] = ()

    def open(self, settings: Settings, directory: str) -> RedisStorage:
        """The storage for the host whose pages are in ``directory``.

        Opens no connection yet. Raises SettingsError.
        """
        from .storage import RedisStorage

        return RedisStorage(settings, directory)
