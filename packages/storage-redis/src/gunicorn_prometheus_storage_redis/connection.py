"""Getting at Redis: one server, a Sentinel's master, or the node of a cluster that has our keys.

Every way ends in an ordinary client of one server, on which transactions work
the same. All keys are in one hash slot, so a cluster needs nothing more.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from gunicorn_prometheus_core.errors import SettingsError, StorageUnavailable, reason
from gunicorn_prometheus_core.settings import Settings

#: How redis-py begins a message about one of several commands: with all that it has sent.
_COMMAND = re.compile(r"^Command # \d+ \((\w+).*\) of pipeline caused error: ", re.DOTALL)

Redis = Any  # redis.Redis, which is generic or not depending on version and stubs


class Connection:
    """A connection that is made when it is needed, and again after every failure.

    Used by one thread at a time.
    """

    def __init__(self, settings: Settings, key: str) -> None:
        check(settings)
        self._settings = settings
        self._key = key
        self._connected = False
        self._client: Redis | None = None
        self._others: list[Redis] = []
        #: Addresses of the cluster's nodes, as far as we have seen them.
        self._nodes: list[tuple[str, int]] = []

    @contextlib.contextmanager
    def use(self) -> Iterator[Redis]:
        """A client of the server that has our keys.

        What goes wrong with it is raised as StorageUnavailable, and the connection given up.
        """
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except (redis.RedisError, OSError) as error:
            self.close()
            told = _COMMAND.sub(r"\1: ", reason(error))
            raise StorageUnavailable(f"Redis at {place(self._settings)}: {told}") from error

    def close(self) -> None:
        """Give up the connection. Another one is made when it is needed."""
        clients = [client for client in (self._client, *self._others) if client is not None]
        self._client, self._others, self._connected = None, [], False
        for client in clients:
            with contextlib.suppress(redis.RedisError, OSError):
                client.close()
            with contextlib.suppress(redis.RedisError, OSError, AttributeError):
                client.connection_pool.disconnect()

    def _once(self, connection: Any) -> None:
        """Let a client connect once.

        redis-py connects again by itself when the server has closed an idle connection. Behind
        that may be a failover, to a server that knows less than the one we talked to before.
        """
        if self._connected:
            raise redis.ConnectionError("the connection was closed by the server")
        connection.on_connect()
        self._connected = True

    def _connect(self) -> Redis:
        settings, options = self._settings, _options(self._settings)
        if settings.redis_sentinels:
            return self._of_sentinels(options)
        if settings.redis_cluster:
            return self._of_cluster(options)
        options["redis_connect_func"] = self._once
        if settings.redis_url:
            client = redis.Redis.from_url(settings.redis_url, **_of_url(settings, options))
            # A URL that others use as well may ask for texts.
            client.connection_pool.connection_kwargs["decode_responses"] = False
            return client
        return redis.Redis(settings.redis_host, settings.redis_port, settings.redis_db, **options)

    def _of_sentinels(self, options: dict[str, Any]) -> Redis:
        settings = self._settings
        own = {
            **options,
            "username": settings.redis_sentinel_username,
            "password": settings.redis_sentinel_password,
        }
        sentinel = Sentinel(settings.redis_sentinels, sentinel_kwargs=own)
        self._others = list(sentinel.sentinels)
        host, port = sentinel.discover_master(settings.redis_sentinel_service)
        options["redis_connect_func"] = self._once
        return redis.Redis(host, port, settings.redis_db, **options)

    def _of_cluster(self, options: dict[str, Any]) -> Redis:
        if self._settings.redis_url:
            url = redis.connection.parse_url(self._settings.redis_url)
            options |= {name: url[name] for name in ("username", "password") if name in url}
            seed = url.get("host", "127.0.0.1"), url.get("port", 6379)
        else:
            seed = self._settings.redis_host, self._settings.redis_port
        last: BaseException | None = None
        for host, port in dict.fromkeys([*self._nodes, seed]):
            with contextlib.closing(redis.Redis(host, port, **options)) as node:
                try:
                    slot = node.execute_command("CLUSTER KEYSLOT", self._key)
                    slots = node.execute_command("CLUSTER SLOTS")
                except (redis.RedisError, OSError) as error:
                    last = error
                    continue
            owners = [
                (first, end, [(name or host, number) for name, number in addresses])
                for first, end, addresses in _rows(slots)
            ]
            self._nodes = [address for _, _, addresses in owners for address in addresses]
            for first, end, addresses in owners:
                if first <= slot <= end:
                    options["redis_connect_func"] = self._once
                    return redis.Redis(*addresses[0], **options)
            last = redis.exceptions.ClusterError(f"no node has slot {slot}")
        assert last is not None
        raise last


def _rows(slots: Any) -> Iterator[tuple[int, int, list[tuple[str, int]]]]:
    """What redis-py makes of CLUSTER SLOTS, which differs between its versions."""
    if isinstance(slots, dict):
        for (first, end), nodes in slots.items():
            replicas = [tuple(node[:2]) for node in nodes.get("replicas", ())]
            yield first, end, [tuple(nodes["primary"][:2]), *replicas]
    else:
        for first, end, *nodes in slots:
            yield first, end, [(_text(node[0]), node[1]) for node in nodes]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _options(settings: Settings) -> dict[str, Any]:
    """What every connection has in common."""
    options: dict[str, Any] = {
        "username": settings.redis_username,
        "password": settings.redis_password,
        "socket_timeout": settings.storage_timeout_seconds,
        "socket_connect_timeout": settings.storage_timeout_seconds,
        # Whoever uses this comes back later by himself, and must not wait now.
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.redis_tls or (settings.redis_url or "").startswith("rediss:"):
        options |= {
            "ssl": True,
            "ssl_ca_certs": settings.redis_tls_ca,
            "ssl_certfile": settings.redis_tls_cert,
            "ssl_keyfile": settings.redis_tls_key,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
        }
    return options


def _of_url(settings: Settings, options: dict[str, Any]) -> dict[str, Any]:
    """The options beside a URL, whose own parts come first."""
    assert settings.redis_url is not None
    url = settings.redis_url
    kept = {name: value for name, value in options.items() if name != "ssl" and value is not None}
    if url.startswith("unix:"):
        kept.pop("socket_connect_timeout")
    if options.get("ssl") and url.startswith("redis:"):
        kept["connection_class"] = redis.SSLConnection
    return kept


def check(settings: Settings) -> None:
    """Raise SettingsError for settings that name unusable files."""
    for name, path in (
        ("REDIS_TLS_CA", settings.redis_tls_ca),
        ("REDIS_TLS_CERT", settings.redis_tls_cert),
        ("REDIS_TLS_KEY", settings.redis_tls_key),
    ):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise SettingsError(
                    f"{name}={path!r} (from the environment): can't be read: {error.strerror}"
                ) from None


def place(settings: Settings) -> str:
    """Where Redis is, for people; without user and password."""
    if settings.redis_sentinels:
        addresses = ",".join(f"{host}:{port}" for host, port in settings.redis_sentinels)
        return f"{settings.redis_sentinel_service} of the Sentinels {addresses}"
    if settings.redis_url:
        url = redis.connection.parse_url(settings.redis_url)
        return str(url.get("path") or f"{url.get('host', 'localhost')}:{url.get('port', 6379)}")
    return f"{settings.redis_host}:{settings.redis_port}"
