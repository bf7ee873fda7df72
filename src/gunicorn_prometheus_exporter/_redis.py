"""Names that are looked up in the distribution for Redis when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_HOME = "gunicorn_prometheus_storage_redis"

CORE = (
    "RedisDict",
    "RedisMultiProcessCollector",
    "RedisStorageClient",
    "RedisStorageDict",
    "RedisValue",
    "StorageDictProtocol",
)
SERVICE = (
    "RedisStorageManager",
    "cleanup_redis_keys",
    "get_redis_collector",
    "get_redis_storage_manager",
    "is_redis_enabled",
    "setup_redis_metrics",
    "teardown_redis_metrics",
)
_MODULES = dict.fromkeys((*SERVICE, "RedisMultiProcessCollector"), "compatibility")


def giving(module: str, names: tuple[str, ...]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module of these names."""

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        try:
            home = importlib.import_module(f"{_HOME}.{_MODULES.get(name, 'compatible_values')}")
        except ModuleNotFoundError as error:
            if error.name != _HOME:
                raise
            raise ImportError(
                f"{name} is not installed: pip install gunicorn-prometheus-exporter[redis]",
                name=_HOME,
            ) from None
        return getattr(home, name)

    return look_up
