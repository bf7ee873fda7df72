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
    file = settings.web_config_file
    config = web_config.read(file, settings.said("web_config_file")) if file else WebConfig()
    own = _own_tls(settings)
    if own is not None and config.tls is not None:
        raise SettingsError(
            f"{settings.said('ssl_certfile')} and tls_server_config (from {file}): "
            "both say how to speak TLS; leave one of them out"
        )
    if config.users:
        _need_bcrypt(settings)
    chosen = own or config.tls
    return Access(
        tls.context(chosen) if chosen is not None else None,
        config.allowed_names,
        config.headers,
        config.users,
        config.rate_limit,
        (*((file,) if file else ()), *(chosen.files if chosen is not None else ())),
    )


def _own_tls(settings: Settings) -> TLS | None:
    """TLS by the settings ``exporter.ssl``."""
    said = settings.said
    if settings.ssl_enabled is False:
        return None
    if settings.ssl_certfile is None:
        for name in ("ssl_enabled", "ssl_keyfile", "ssl_client_cafile", "ssl_client_capath"):
            if getattr(settings, name):
                raise SettingsError(f"{said(name)}: needs PROMETHEUS_SSL_CERTFILE as well")
        if settings.ssl_client_auth_required:
            raise SettingsError(
                f"{said('ssl_client_auth_required')}: needs PROMETHEUS_SSL_CERTFILE as well"
            )
        return None
    ...
