"""Every setting, declared once: name, environment variable, type, default, what is allowed.

Parsing, error messages, ``doctor`` and the reference documentation all come
from the fields of :class:`Settings`. How they get their values is the matter
of :mod:`~gunicorn_prometheus_core.configuration`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import parsing
from .parsing import Kind

#: What the name of each setting begins with in a YAML file.
ROOT = "exporter"
#: What the names of a backend's own settings begin with.
OWN = "own."


@dataclass(frozen=True)
class Declaration:
    """What is declared of a setting.

    ``path`` is its place in a YAML file. The value of a secret one is in no
    message and no ``repr``; it can be in a file of its own, which
    ``<variable>_FILE`` or ``<path>_file`` names. What is ``fixed`` stays as it
    is while a server runs.
    """

    path: str
    variable: str
    kind: Kind
    help: str
    secret: bool = False
    fixed: bool = False
    default: Any = None


@dataclass(frozen=True)
class Option:
    """A setting that a storage backend declares itself. ``name`` is lower case, ``like_this``.

    Of the backend ``lake``, ``Option("path", ...)`` is the variable
    ``GUNICORN_PROMETHEUS_LAKE_PATH`` and in YAML ``exporter.lake.path``; its value is
    ``settings.own["path"]``, and ``settings.said("own.path")`` is what a message calls it. Values
    are texts, numbers, truth values, None, or tuples of those: they are passed between processes.
    """

    name: str
    default: Any
    kind: Kind
    help: str
    secret: bool = False

    def declared_by(self, backend: str) -> Declaration:
        """The declaration of this setting of the backend of that name."""
        words = backend.upper().replace("-", "_"), self.name.upper()
        return Declaration(
            f"{ROOT}.{backend}.{self.name}",
            "_".join(("GUNICORN_PROMETHEUS", *words)),
            self.kind,
            self.help,
            self.secret,
            default=self.default,
        )


class Origin(NamedTuple):
    """Where a value came from: how it is called there, what is written there, and where that is."""

    name: str
    value: str
    place: str

    def __str__(self) -> str:
        return f"{self.name}={self.value} ({self.place})"


def _setting(
    path: str,
    variable: str,
    default: Any,
    kind: Kind,
    help_text: str,
    *,
    secret: bool = False,
    fixed: bool = False,
) -> Any:
    declared = Declaration(f"{ROOT}.{path}", variable, kind, help_text, secret, fixed, default)
    return field(default=default, metadata={"declared": declared}, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """The effective settings of one process. Immutable; safe to share between threads."""

    multiproc_dir: str | None = _setting(
        "prometheus.multiproc_dir",
        "PROMETHEUS_MULTIPROC_DIR",
        None,
        parsing.text("a directory path"),
        "Directory of the metric pages. Unset: a private one is made for each server, in memory "
        "where the system offers that, and removed when the server ends.",
        fixed=True,
    )
    metrics_port: int = _setting(
        "prometheus.metrics_port",
        "PROMETHEUS_METRICS_PORT",
        9091,
        parsing.integer(1, 65535),
        "Port of the metrics endpoint.",
    )
    bind_address: str = _setting(
        "prometheus.bind_address",
        "PROMETHEUS_BIND_ADDRESS",
        "0.0.0.0",
        parsing.listen_addresses(),
        "Address of the metrics endpoint, or several with commas between them; the port of those "
        "that name none is that of the setting for it.",
    )
    client_timeout_seconds: float = _setting(
        "prometheus.client_timeout_seconds",
        "GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS",
        10.0,
        parsing.seconds(0.1, 3600),
        "How long a client of the metrics endpoint may take over a TLS handshake, over a request, "
        "and to begin to take the answer.",
    )
    page: bool = _setting(
        "prometheus.page",
        "GUNICORN_PROMETHEUS_PAGE",
        True,
        parsing.flag(),
        "Show what the server does on a page at the root of the metrics endpoint.",
    )
    web_config_file: str | None = _setting(
        "prometheus.web_config_file",
        "PROMETHEUS_WEB_CONFIG_FILE",
        None,
        parsing.text("a path"),
        "TLS, users and headers of the metrics endpoint, in the file format that Prometheus "
        "exporters have in common.",
    )
    ssl_enabled: bool | None = _setting(
        "ssl.enabled",
        "PROMETHEUS_SSL_ENABLED",
        None,
        parsing.flag(),
        "Serve the metrics by TLS. Not set: if there is a certificate.",
    )
    ssl_certfile: str | None = _setting(
        "ssl.certfile",
        "PROMETHEUS_SSL_CERTFILE",
        None,
        parsing.text("a path"),
        "File with the certificate of the metrics endpoint, and those between it and its root.",
    )
    ssl_keyfile: str | None = _setting(
        "ssl.keyfile",
        "PROMETHEUS_SSL_KEYFILE",
        None,
        parsing.text("a path"),
        "File with the key of that certificate. Not set: it is in the same file.",
    )
    ssl_client_cafile: str | None = _setting(
        "ssl.client_cafile",
        "PROMETHEUS_SSL_CLIENT_CAFILE",
        None,
        parsing.text("a path"),
        "File with the certificates of the authorities that scrapers' certificates may come from.",
    )
    ssl_client_capath: str | None = _setting(
        "ssl.client_capath",
        "PROMETHEUS_SSL_CLIENT_CAPATH",
        None,
        parsing.text("a directory path"),
        "Directory of such certificates, named by their hashes (`openssl rehash`).",
    )
    ssl_client_auth_required: bool | None = _setting(
        "ssl.client_auth_required",
        "PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED",
        None,
        parsing.flag(),
        "Whether a scraper has to have a certificate; to be said wherever authorities are given.",
    )
    cleanup_db_files: bool = _setting(
        "cleanup.db_files",
        "CLEANUP_DB_FILES",
        True,
        parsing.flag(),
        "Begin with empty pages at a fresh start. Never applies to a USR2 upgrade, nor while "
        "another live process records into the directory.",
        fixed=True,
    )
    storage: str = _setting(
        "storage",
        "GUNICORN_PROMETHEUS_STORAGE",
        "mmap",
        parsing.text("the name of an installed storage backend"),
        "Storage backend that the metrics are served from.",
    )
    publish_seconds: float = _setting(
        "sharing.publish_seconds",
        "GUNICORN_PROMETHEUS_PUBLISH_SECONDS",
        2.0,
        parsing.seconds(0.05, 3600),
        "How often this host's values are published to a storage that hosts share.",
    )
    storage_timeout_seconds: float = _setting(
        "sharing.timeout_seconds",
        "GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS",
        1.0,
        parsing.seconds(0.01, 60),
        "How long to wait for a storage that hosts share: for a connection, for each of its "
        "answers, and in a scrape altogether.",
    )
    instance: str | None = _setting(
        "sharing.instance",
        "GUNICORN_PROMETHEUS_INSTANCE",
        None,
        parsing.text("a name"),
        "Name of this host in a storage that hosts share. Not set: its host name.",
    )
    scope: str = _setting(
        "sharing.scope",
        "GUNICORN_PROMETHEUS_SCOPE",
        "all",
        parsing.one_of("all", "instance"),
        "What the metrics of a storage that hosts share are about: all of them, or this one only.",
    )
    redis_enabled: bool = _setting(
        "redis.enabled",
        "REDIS_ENABLED",
        False,
        parsing.flag(),
        "The documented way to say GUNICORN_PROMETHEUS_STORAGE=redis.",
    )
    redis_url: str | None = _setting(
        "redis.url",
        "REDIS_URL",
        None,
        parsing.redis_url(),
        "Where Redis is, instead of host, port, database, user and password.",
        secret=True,
    )
    redis_host: str = _setting(
        "redis.host",
        "REDIS_HOST",
        "127.0.0.1",
        parsing.text("a host name or an IP address"),
        "Host of Redis.",
    )
    redis_port: int = _setting(
        "redis.port", "REDIS_PORT", 6379, parsing.integer(1, 65535), "Port of Redis."
    )
    redis_db: int = _setting(
        "redis.db",
        "REDIS_DB",
        0,
        parsing.integer(0, 1_000_000),
        "Number of the Redis database.",
    )
    redis_username: str | None = _setting(
        "redis.username",
        "REDIS_USERNAME",
        None,
        parsing.text("a user name"),
        "ACL user that logs in to Redis.",
    )
    redis_password: str | None = _setting(
        "redis.password",
        "REDIS_PASSWORD",
        None,
        parsing.secret("a password"),
        "Password for Redis.",
        secret=True,
    )
    redis_key_prefix: str = _setting(
        "redis.key_prefix",
        "REDIS_KEY_PREFIX",
        "gunicorn",
        parsing.text("a text"),
        "What the names of all keys in Redis begin with. Servers with the same prefix are summed "
        "up, so give every application one of its own.",
    )
    redis_ttl_seconds: float = _setting(
        "redis.ttl_seconds",
        "REDIS_TTL_SECONDS",
        300.0,
        parsing.seconds(0.5, 604_800),
        "A host that has published nothing for so long is taken for dead: its counts are kept, "
        "its live gauges are not.",
    )
    redis_ttl_disabled: bool = _setting(
        "redis.ttl_disabled",
        "REDIS_TTL_DISABLED",
        False,
        parsing.flag(),
        "Never take a host for dead, and let no key in Redis expire.",
    )
    redis_tls: bool = _setting(
        "redis.tls", "REDIS_TLS", False, parsing.flag(), "Speak TLS with Redis, as rediss:// does."
    )
    redis_tls_ca: str | None = _setting(
        "redis.tls_ca",
        "REDIS_TLS_CA",
        None,
        parsing.text("a path"),
        "File with the certificates of the authorities that Redis' certificate may come from. "
        "Not set: those of the system.",
    )
    redis_tls_cert: str | None = _setting(
        "redis.tls_cert",
        "REDIS_TLS_CERT",
        None,
        parsing.text("a path"),
        "File with our client certificate for Redis.",
    )
    redis_tls_key: str | None = _setting(
        "redis.tls_key",
        "REDIS_TLS_KEY",
        None,
        parsing.text("a path"),
        "File with the key of our client certificate.",
    )
    redis_sentinels: tuple[tuple[str, int], ...] = _setting(
        "redis.sentinels",
        "REDIS_SENTINELS",
        (),
        parsing.addresses(),
        "Sentinels that know where Redis is, instead of host and port.",
    )
    redis_sentinel_service: str = _setting(
        "redis.sentinel_service",
        "REDIS_SENTINEL_SERVICE",
        "mymaster",
        parsing.text("a name"),
        "Name of Redis at the Sentinels.",
    )
    redis_sentinel_username: str | None = _setting(
        "redis.sentinel_username",
        "REDIS_SENTINEL_USERNAME",
        None,
        parsing.text("a user name"),
        "ACL user at the Sentinels.",
    )
    redis_sentinel_password: str | None = _setting(
        "redis.sentinel_password",
        "REDIS_SENTINEL_PASSWORD",
        None,
        parsing.secret("a password"),
        "Password for the Sentinels.",
        secret=True,
    )
    redis_cluster: bool = _setting(
        "redis.cluster",
        "REDIS_CLUSTER",
        False,
        parsing.flag(),
        "Redis is a cluster, and host and port are those of any of its nodes.",
    )
    sidecar_mode: bool = _setting(
        "sidecar.mode",
        "SIDECAR_MODE",
        False,
        parsing.flag(),
        "Serve no metrics from this server, because a sidecar reads its pages. To a storage that "
        "hosts share its metrics are published all the same.",
        fixed=True,
    )
    sidecar_update_interval: float = _setting(
        "sidecar.update_interval",
        "SIDECAR_UPDATE_INTERVAL",
        30.0,
        parsing.seconds(1, 3600),
        "How often a sidecar looks how large the directory of the pages is.",
    )
    endpoint: str = _setting(
        "requests.endpoint",
        "GUNICORN_PROMETHEUS_ENDPOINT",
        "route",
        parsing.one_of("route", "path", "none"),
        "What the label endpoint is: the route of the framework, or the path where there is none; "
        "always the path; or nothing, which is the value _all_.",
    )
    endpoint_limit: int = _setting(
        "requests.endpoint_limit",
        "GUNICORN_PROMETHEUS_ENDPOINT_LIMIT",
        100,
        parsing.integer(0, 100_000),
        "Most distinct paths in the label endpoint per worker; there may be ten times as many "
        "routes. What is beyond becomes _other_.",
    )
    label_limit: int = _setting(
        "requests.label_limit",
        "GUNICORN_PROMETHEUS_LABEL_LIMIT",
        100,
        parsing.integer(0, 100_000),
        "Most distinct values of the label error_type per worker; what is beyond becomes _other_.",
    )
    excluded_paths: tuple[str, ...] = _setting(
        "requests.excluded_paths",
        "GUNICORN_PROMETHEUS_EXCLUDED_PATHS",
        (),
        parsing.paths(),
        "Paths of requests that are in none of the metrics.",
    )
    duration_buckets: tuple[float, ...] = _setting(
        "requests.duration_buckets",
        "GUNICORN_PROMETHEUS_DURATION_BUCKETS",
        (),
        parsing.bounds(50),
        "Upper bounds in seconds of the buckets of gunicorn_http_request_duration_seconds, beside "
        "those of gunicorn_worker_request_duration_seconds, which are always among them. Not set: "
        "those in the reference.",
    )
    queue_time: bool = _setting(
        "requests.queue_time",
        "GUNICORN_PROMETHEUS_QUEUE_TIME",
        True,
        parsing.flag(),
        "Record how long requests have waited since the time in X-Request-Start or X-Queue-Start.",
    )
    exemplars: bool = _setting(
        "requests.exemplars",
        "GUNICORN_PROMETHEUS_EXEMPLARS",
        True,
        parsing.flag(),
        "Keep the trace of a request, if it has one that is sampled, as an exemplar of its "
        "duration.",
    )
    native_histograms: bool = _setting(
        "requests.native_histograms",
        "GUNICORN_PROMETHEUS_NATIVE_HISTOGRAMS",
        False,
        parsing.flag(),
        "Record the duration of requests as a native histogram as well, for scrapers that ask for "
        "Prometheus' protobuf format.",
    )
    gunicorn_workers: int | None = _setting(
        "gunicorn.workers",
        "GUNICORN_WORKERS",
        None,
        parsing.integer(1, 100_000),
        "Gunicorn's `workers`, where `gunicorn_prometheus_exporter.conf` is its configuration.",
    )
    gunicorn_timeout: int | None = _setting(
        "gunicorn.timeout",
        "GUNICORN_TIMEOUT",
        None,
        parsing.integer(0, 1_000_000),
        "Gunicorn's `timeout`, in the same case.",
    )
    gunicorn_keepalive: int | None = _setting(
        "gunicorn.keepalive",
        "GUNICORN_KEEPALIVE",
        None,
        parsing.integer(0, 1_000_000),
        "Gunicorn's `keepalive`, in the same case.",
    )
    gunicorn_bind: str | None = _setting(
        "gunicorn.bind",
        "GUNICORN_BIND",
        None,
        dataclasses.replace(
            parsing.text("addresses such as 0.0.0.0:8000, by commas"), yaml=("str", "seq")
        ),
        "Gunicorn's `bind`, in the same case.",
    )
    gunicorn_worker_class: str | None = _setting(
        "gunicorn.worker_class",
        "GUNICORN_WORKER_CLASS",
        None,
        parsing.text("a kind of worker, or a class as a dotted name"),
        "Gunicorn's `worker_class`, in the same case.",
    )
    #: Values of what the storage backend declares itself (:class:`Option`), by name.
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Where the values came from that are not defaults, by the names of the fields, and as
    #: ``own.<name>``.
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, repr=False)
    #: The declarations of ``own``, as ``own.<name>``; none in a process that was told the values.
    options: Mapping[str, Declaration] = field(default_factory=dict, compare=False, repr=False)

    def declarations(self) -> Mapping[str, Declaration]:
        """All declarations by name, the storage backend's included."""
        return {**DECLARATIONS, **self.options}

    def value(self, name: str) -> Any:
        """The value of the setting of that name in ``declarations()``."""
        return self.own[name.removeprefix(OWN)] if name.startswith(OWN) else getattr(self, name)

    def origin(self, name: str) -> Origin:
        """How a setting is called, what it is, and where that came from."""
        known = self.origins.get(name)
        if known is not None:
            return known
        declared = self.declarations()[name]
        value = "(a secret)" if declared.secret else shown(self.value(name))
        return Origin(declared.variable, value, "the default")

    def said(self, name: str) -> str:
        """How a message speaks of a setting: name, value, and where that came from."""
        return str(self.origin(name))

    def dumps(self) -> str:
        """As a JSON text, secrets included, for :meth:`loads` in another process."""
        values = {name: getattr(self, name) for name in DECLARATIONS}
        origins = {**{name: self.origin(name) for name in self.options}, **self.origins}
        return json.dumps({"values": values, "own": self.own, "origins": origins})

    @classmethod
    def loads(cls, text: str) -> Settings:
        """From what :meth:`dumps` gave."""
        given = json.loads(text)
        return cls(
            **{name: _frozen(one) for name, one in given["values"].items()},
            own={name: _frozen(one) for name, one in given["own"].items()},
            origins={name: Origin(*origin) for name, origin in given["origins"].items()},
        )


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


#: The declaration of each setting, by the name of its field.
DECLARATIONS: Mapping[str, Declaration] = {
    one.name: one.metadata["declared"]
    for one in dataclasses.fields(Settings)
    if "declared" in one.metadata
}


def default(name: str) -> Any:
    """The default of the field of that name."""
    return DECLARATIONS[name].default


def shown(value: Any) -> str:
    """A value as one would write it into the environment; "" for one that is not set."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, tuple):
        return ",".join(
            ":".join(map(str, one)) if isinstance(one, tuple) else shown(one) for one in value
        )
    return str(value)
