"""Every setting, declared once: environment variable, type, default, what is allowed.

Parsing, error messages and the reference documentation all come from the
fields of :class:`Settings`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import SettingsError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def _text(value: str) -> str:
    return value


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(value)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(value)
        return number

    return parse


def _setting(
    env: str, default: Any, parse: Callable[[str], Any], allowed: str, help_text: str
) -> Any:
    metadata = {"env": env, "parse": parse, "allowed": allowed, "help": help_text}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The effective settings of one process. Immutable; safe to share between threads."""

    multiproc_dir: str | None = _setting(
        "PROMETHEUS_MULTIPROC_DIR",
        None,
        _text,
        "a directory path",
        "Directory of the metric pages. Unset: a private one is made for each server, in memory "
        "where the system offers that, and removed when the server ends.",
    )
    metrics_port: int = _setting(
        "PROMETHEUS_METRICS_PORT",
        9091,
        _integer(1, 65535),
        "a whole number from 1 to 65535",
        "Port of the metrics endpoint.",
    )
    bind_address: str = _setting(
        "PROMETHEUS_BIND_ADDRESS",
        "0.0.0.0",
        _text,
        "an IPv4 or IPv6 address or a host name of this machine",
        "Address of the metrics endpoint.",
    )
    cleanup_db_files: bool = _setting(
        "CLEANUP_DB_FILES",
        True,
        _flag,
        "true or false",
        "Begin with empty pages at a fresh start. Never applies to a USR2 upgrade, nor while "
        "another live process records into the directory.",
    )
    storage: str = _setting(
        "GUNICORN_PROMETHEUS_STORAGE",
        "mmap",
        _text,
        "the name of an installed storage backend",
        "Storage backend that the metrics are served from.",
    )
    redis_enabled: bool = _setting(
        "REDIS_ENABLED",
        False,
        _flag,
        "true or false",
        "The documented way to say GUNICORN_PROMETHEUS_STORAGE=redis.",
    )
    sidecar_mode: bool = _setting(
        "SIDECAR_MODE",
        False,
        _flag,
        "true or false",
        "Serve no metrics from this server, because a sidecar reads its pages.",
    )
    endpoint_limit: int = _setting(
        "GUNICORN_PROMETHEUS_ENDPOINT_LIMIT",
        100,
        _integer(0, 100_000),
        "a whole number from 0 to 100000",
        "Most distinct values of the label endpoint per worker; what is beyond becomes _other_.",
    )

    @property
    def backend(self) -> str:
        """Name of the storage backend to look up."""
        return "redis" if self.redis_enabled else self.storage


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    A variable that is set but empty counts as not set, as container manifests
    leave them. Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for declared in dataclasses.fields(Settings):
        name = declared.metadata["env"]
        value = environ.get(name, "")
        if not value.strip():
            continue
        try:
            values[declared.name] = declared.metadata["parse"](value)
        except ValueError:
            raise SettingsError(
                f"{name}={value!r} (from the environment): "
                f"must be {declared.metadata['allowed']} (default: {declared.default})"
            ) from None
    return Settings(**values)
