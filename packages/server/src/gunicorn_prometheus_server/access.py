"""Who may scrape and how: from the settings and the files that they name.

This module is also looked up by the master, as the entry point ``check`` of
``gunicorn_prometheus.server``, and so has to be light.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings

from . import tls, web_config
from .tls import TLS, Pem
from .web_config import RateLimit, WebConfig

__all__ = ["Access", "RateLimit", "Watched", "check", "read"]

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Access:
    """What holds for a client. ``users`` are names and bcrypt hashes."""

    context: ssl.SSLContext | None = None
    #: Names of which a client's certificate must have one, if there are any.
    allowed_names: frozenset[str] = frozenset()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    rate_limit: RateLimit | None = None
    #: The files that it was read from.
    files: tuple[str, ...] = ()


def check(settings: Settings) -> str:
    """Raise SettingsError unless metrics can be served by these settings.

    Gives the scheme of their URL, ``http`` or ``https``.
    """
    return "http" if read(settings).context is None else "https"


def read(settings: Settings) -> Access:
    """The access that the settings ask for, from the files as they are now.

    Raises SettingsError.
    """
    config, chosen = _configured(settings)
    if config.users:
        _need_bcrypt(settings)
    file = settings.web_config_file
    return Access(
        tls.context(chosen) if chosen is not None else None,
        config.allowed_names,
        config.headers,
        config.users,
        config.rate_limit,
        (*((file,) if file else ()), *(chosen.files if chosen is not None else ())),
    )


def configured_tls(settings: Settings) -> TLS | None:
    """What is configured of TLS, without reading certificates. Raises SettingsError."""
    return _configured(settings)[1]


def _configured(settings: Settings) -> tuple[WebConfig, TLS | None]:
    file = settings.web_config_file
    config = web_config.read(file, settings.said("web_config_file")) if file else WebConfig()
    own = _own_tls(settings)
    if own is not None and config.tls is not None:
        raise SettingsError(
            f"{settings.said('ssl_certfile')} and tls_server_config (from {file}): "
            "both say how to speak TLS; leave one of them out"
        )
    return config, own or config.tls


def _own_tls(settings: Settings) -> TLS | None:
    """TLS by the settings ``exporter.ssl``."""
    said = settings.said
    if settings.ssl_enabled is False:
        return None
    if settings.ssl_certfile is None:
        for name in (
            *("ssl_enabled", "ssl_keyfile", "ssl_client_cafile", "ssl_client_capath"),
            "ssl_client_auth_required",
        ):
            if getattr(settings, name):
                raise SettingsError(f"{said(name)}: needs PROMETHEUS_SSL_CERTFILE, a certificate")
        return None
    certificate = Pem(said("ssl_certfile"), path=settings.ssl_certfile)
    key = certificate
    if settings.ssl_keyfile is not None:
        key = Pem(said("ssl_keyfile"), path=settings.ssl_keyfile)
    authorities = None
    if settings.ssl_client_cafile is not None:
        authorities = Pem(said("ssl_client_cafile"), path=settings.ssl_client_cafile)
    folder = settings.ssl_client_capath
    if folder is not None and not os.path.isdir(folder):
        raise SettingsError(f"{said('ssl_client_capath')}: must be a directory")
    return TLS(
        certificate,
        key,
        authorities,
        authorities_folder=folder,
        clients=_clients(settings),
    )


def _clients(settings: Settings) -> ssl.VerifyMode:
    """What is checked of clients' certificates. Authorities need to be told what they are for."""
    said = settings.said
    given = [name for name in ("ssl_client_cafile", "ssl_client_capath") if getattr(settings, name)]
    required = settings.ssl_client_auth_required
    if given and required is None:
        raise SettingsError(
            f"{said(given[0])}: needs PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED: true to let nobody in "
            "without a certificate, false to verify only those that are shown"
        )
    if required and not given:
        raise SettingsError(
            f"{said('ssl_client_auth_required')}: needs PROMETHEUS_SSL_CLIENT_CAFILE or "
            "PROMETHEUS_SSL_CLIENT_CAPATH, the authorities that certificates may come from"
        )
    if not given:
        return ssl.CERT_NONE
    return ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL


def _need_bcrypt(settings: Settings) -> None:
    try:
        import bcrypt  # noqa: F401  it is used where passwords are verified
    except ImportError:
        raise SettingsError(
            f"{settings.said('web_config_file')}: basic_auth_users need bcrypt: "
            'pip install "gunicorn-prometheus-server[auth]"'
        ) from None


class Watched:
    """The access in force: read anew when one of its files has changed.

    What can't be used then is logged and counted, and the former access stays.
    Used by the event loop's thread. Raises SettingsError when made.
    """

    def __init__(self, settings: Settings, on_error: Callable[[], None]) -> None:
        self._settings = settings
        self._on_error = on_error
        self._access = read(settings)
        self._seen = _stamps(self._access.files)
        self._next = 0.0
        self._complaint = ""

    def now(self) -> Access:
        """The access for somebody who connects or asks now. Looks at the files once a second."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK_SECONDS
            seen = _stamps(self._access.files)
            # After a failure every time: what was missing need not be among these files.
            if seen != self._seen or self._complaint:
                self._read_again(seen)
        return self._access

    def _read_again(self, seen: tuple[object, ...]) -> None:
        files = self._access.files
        try:
            self._access = read(self._settings)
        except SettingsError as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._on_error()
                log.error("%s; what was read before stays in force", error)
            return
        self._complaint = ""
        self._seen = seen if self._access.files == files else _stamps(self._access.files)
        log.info("the files about access to the metrics have changed and are in force")


def _stamps(files: tuple[str, ...]) -> tuple[object, ...]:
    """Something that changes when one of the files does."""
    return tuple(map(_stamp, files))


def _stamp(file: str) -> object:
    try:
        status = os.stat(file)
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_size, status.st_mtime_ns
