"""The settings of a server: read and checked when it starts, and again at each reload."""

from __future__ import annotations

from dataclasses import replace

from gunicorn_prometheus_core import configuration, plugins
from gunicorn_prometheus_core.errors import MissingPart, SettingsError
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import DECLARATIONS, Settings

from . import identity


def first(uid: int, gid: int) -> Settings:
    """Read the settings and put them in force, for a server whose workers run as ``uid:gid``.

    Raises SettingsError and MissingPart, for what the server can't start with.
    """
    settings = _checked(configuration.load(), uid, gid)
    configuration.put_in_force(settings)
    return settings


def again(before: Settings, uid: int, gid: int) -> Settings | None:
    """Read them again and put in force what can change while the server runs.

    What can't change is logged, and stays as it was. None if they can't be used,
    which is logged; then all of them stay.
    """
    try:
        settings = _checked(_kept(before, configuration.load()), uid, gid)
    except (SettingsError, MissingPart) as error:
        log.error("%s; the settings stay as they were", error)
        return None
    except Exception:
        log.exception("the settings could not be read again; they stay as they were")
        return None
    configuration.put_in_force(settings)
    return settings


def _kept(before: Settings, settings: Settings) -> Settings:
    """The settings with what can't change as it was, which is logged."""
    for name, declared in DECLARATIONS.items():
        if declared.fixed and getattr(settings, name) != getattr(before, name):
            log.warning("%s takes effect when the server is restarted", settings.said(name))
            settings = replace(settings, **{name: getattr(before, name)})
    return settings


def scheme(settings: Settings) -> str:
    """That of the metrics' URL. Raises SettingsError where they can't be served as it is set."""
    if plugins.find(plugins.SERVER, "check") is None:
        return "http"
    return str(plugins.load(plugins.SERVER, "check")(settings))


def _checked(settings: Settings, uid: int, gid: int) -> Settings:
    """Settings that every part of this server can work with."""
    plugins.backend(settings)
    configuration.check_sidecar(settings)
    if not settings.sidecar_mode:
        # With the rights of the process that will serve: a key that only root can read is no use.
        with identity.acting_as(uid, gid):
            scheme(settings)
    return settings
