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

from . import parsing
from .errors import SettingsError


def _setting(
    env: str,
    default: Any,
    parse: Callable[[str], Any],
    allowed: str,
    help_text: str,
    *,
    secret: bool = False,
) -> Any:
    """A setting; the value of a secret one is in no message and no ``repr``."""
    metadata = {
        "env": env,
        "parse": parse,
        "allowed": allowed,
        "help": help_text,
        "secret": secret,
    }
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """The effective settings of one process. Immutable; safe to share between threads."""

    multiproc_dir: str | None = _setting(
        "PROMETHEUS_MULTIPROC_DIR",
        None,
        parsing.text,
        "a directory path",
        "Directory of the metric pages. Unset: a private one is made for each server, in memory "
        "where the system offers that, and removed when the server ends.",
    )
    metrics_port: int = _setting(
        "PROMETHEUS_METRICS_PORT",
        9091,
        parsing.integer(1, 65535),
        "a whole number from 1 to 65535",
        "Port of the metrics endpoint.",
    )
    bind_address: str = _setting(
        "PROMETHEUS_BIND_ADDRESS",
        "0.0.0.0",
        parsing.text,
        "an IPv4 or IPv6 address or a host name of this machine",
        "Address of the metrics endpoint.",
    )
    cleanup_db_files: bool = _setting(
        "CLEANUP_DB_FILES",
        True,
        parsing.flag,
        "true or false",
        "Begin with empty pages at a fresh start. Never applies to a USR2 upgrade, nor while "
        "another live process records into the directory.",
    )
    storage: str = _setting(
        "GUNICORN_PROMETHEUS_STORAGE",
        "mmap",
        parsing.text,
        "the name of an installed storage backend",
        "Storage backend that the metrics are served from.",
    )
    publish_seconds: float = _setting(
        "GUNICORN_PROMETHEUS_PUBLISH_SECONDS",
        2.0,
        parsing.seconds(0.05, 3600),
        "seconds from 0.05 to 3600",
        "How often this host's values are published to a storage that hosts share.",
    )
    storage_timeout_seconds: float = _setting(
        "GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS",
        1.0,
        parsing.seconds(0.01, 60),
        "seconds from 0.01 to 60",
        "How long to wait for a storage that hosts share: for a connection, for each of its "
        "answers, and in a scrape altogether.",
    )
    instance: str | None = _setting(
        "GUNICORN_PROMETHEUS_INSTANCE",
        None,
        parsing.text,
        "a name",
        "Name of this host in a storage that hosts share. Not set: its host name.",
    )
    scope: str = _setting(
        "GUNICORN_PROMETHEUS_SCOPE",
        "all",
        parsing.one_of("all", "instance"),
        "all or instance",
        "What the metrics of a storage that hosts share are about: all of them, or this one only.",
    )
    redis_enabled: bool = _setting(
        "REDIS_ENABLED",
        False,
        parsing.flag,
        "true or false",
        "The documented way to say GUNICORN_PROMETHEUS_STORAGE=redis.",
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        parsing.redis_url,
        "a URL such as redis://user:password@host:6379/0, rediss://... for TLS, or "
        "unix:///path/to/socket; special characters in its parts are percent-encoded",
        "Where Redis is, instead of host, port, database, user and password.",
        secret=True,
    )
    redis_host: str = _setting(
        "REDIS_HOST", "127.0.0.1", parsing.text, "a host name or an IP address", "Host of Redis."
    )
    redis_port: int = _setting(
        "REDIS_PORT",
        6379,
        parsing.integer(1, 65535),
        "a whole number from 1 to 65535",
        "Port of Redis.",
    )
    redis_db: int = _setting(
        "REDIS_DB",
        0,
        parsing.integer(0, 1_000_000),
        "a whole number",
        "Number of the Redis database.",
    )
    redis_username: str | None = _setting(
        "REDIS_USERNAME", None, parsing.text, "a user name", "ACL user that logs in to Redis."
    )
    redis_password: str | None = _setting(
        "REDIS_PASSWORD", None, parsing.text, "a password", "Password for Redis.", secret=True
    )
    redis_key_prefix: str = _setting(
        "REDIS_KEY_PREFIX",
        "gunicorn",
        parsing.text,
        "a text",
        "What the names of all keys in Redis begin with. Servers with the same prefix are summed "
        "up, so give every application one of its own.",
    )
    redis_ttl_seconds: float = _setting(
        "REDIS_TTL_SECONDS",
        300.0,
        parsing.seconds(0.5, 604_800),
        "seconds from 0.5 to 604800",
        "A host that has published nothing for so long is taken for dead: its counts are kept, "
        "its live gauges are not.",
    )
    redis_ttl_disabled: bool = _setting(
        "REDIS_TTL_DISABLED",
        False,
        parsing.flag,
        "true or false",
        "Never take a host for dead, and let no key in Redis expire.",
    )
    redis_tls: bool = _setting(
        "REDIS_TLS",
        False,
        parsing.flag,
        "true or false",
        "Speak TLS with Redis, as rediss:// does.",
    )
    redis_tls_ca: str | None = _setting(
        "REDIS_TLS_CA",
        None,
        parsing.text,
        "a path",
        "File with the certificates of the authorities that Redis' certificate may come from. "
        "Not set: those of the system.",
    )
    redis_tls_cert: str | None = _setting(
        "REDIS_TLS_CERT",
        None,
        parsing.text,
        "a path",
        "File with our client certificate for Redis.",
    )
    redis_tls_key: str | None = _setting(
        "REDIS_TLS_KEY",
        None,
        parsing.text,
        "a path",
        "File with the key of our client certificate.",
    )
    redis_sentinels: tuple[tuple[str, int], ...] = _setting(
        "REDIS_SENTINELS",
        (),
        parsing.addresses,
        "addresses such as host1:26379,host2:26379",
        "Sentinels that know where Redis is, instead of host and port.",
    )
    redis_sentinel_service: str = _setting(
        "REDIS_SENTINEL_SERVICE",
        "mymaster",
        parsing.text,
        "a name",
        "Name of Redis at the Sentinels.",
    )
    redis_sentinel_username: str | None = _setting(
        "REDIS_SENTINEL_USERNAME", None, parsing.text, "a user name", "ACL user at the Sentinels."
    )
    redis_sentinel_password: str | None = _setting(
        "REDIS_SENTINEL_PASSWORD",
        None,
        parsing.text,
        "a password",
        "Password for the Sentinels.",
        secret=True,
    )
    redis_cluster: bool = _setting(
        "REDIS_CLUSTER",
        False,
        parsing.flag,
        "true or false",
        "Redis is a cluster, and host and port are those of any of its nodes.",
    )
    sidecar_mode: bool = _setting(
        "SIDECAR_MODE",
        False,
        parsing.flag,
        "true or false",
        "Serve no metrics from this server, because a sidecar reads its pages. To a storage that "
        "hosts share its metrics are published all the same.",
    )
    endpoint_limit: int = _setting(
        "GUNICORN_PROMETHEUS_ENDPOINT_LIMIT",
        100,
        parsing.integer(0, 100_000),
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
            shown = "(a secret)" if declared.metadata["secret"] else repr(value)
            raise SettingsError(
                f"{name}={shown} (from the environment): "
                f"must be {declared.metadata['allowed']} (default: {declared.default})"
            ) from None
    settings = Settings(**values)
    if settings.backend == "redis":
        _check_redis(settings)
    return settings


def _check_redis(settings: Settings) -> None:
    """Raise SettingsError for settings that contradict each other."""
    if settings.redis_sentinels and settings.redis_cluster:
        raise SettingsError(
            "REDIS_SENTINELS and REDIS_CLUSTER=true (from the environment): not both"
        )
    if settings.redis_url and settings.redis_sentinels:
        raise SettingsError("REDIS_URL and REDIS_SENTINELS (from the environment): not both")
    if settings.redis_cluster and settings.redis_db:
        raise SettingsError(
            f"REDIS_DB={settings.redis_db} (from the environment): must be 0 in a cluster"
        )
    least = 3 * settings.publish_seconds
    if not settings.redis_ttl_disabled and settings.redis_ttl_seconds < least:
        raise SettingsError(
            f"REDIS_TTL_SECONDS={settings.redis_ttl_seconds:g} (from the environment): must be at "
            f"least 3 times GUNICORN_PROMETHEUS_PUBLISH_SECONDS, {least:g}"
        )
