"""A configuration of Gunicorn that makes its workers record, whatever their class.

``gunicorn -c python:gunicorn_prometheus_exporter.conf app:app``, or the same
option in ``GUNICORN_CMD_ARGS``, where the command itself has to stay as it is.
What Gunicorn would read without the option, ``gunicorn.conf.py`` in its
working directory, is read all the same, anew at each reload; so are the
settings ``exporter.gunicorn`` (``GUNICORN_WORKERS`` and others), which give
way to it. Importing this module does nothing: it is when Gunicorn asks what
the configuration says that recording is switched on.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
import traceback
from types import ModuleType
from typing import Any

_SETTINGS = ("workers", "timeout", "keepalive", "bind", "worker_class")


class _Configuration(ModuleType):
    """Gunicorn takes ``vars()`` of a module that it has for a configuration."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # a view of its own
        return _settings()


def _settings() -> dict[str, Any]:
    """Switch recording on and give Gunicorn's settings by their names. In the master only."""
    from gunicorn.config import get_default_config_file

    from gunicorn_prometheus_core import configuration
    from gunicorn_prometheus_core.errors import SettingsError
    from gunicorn_prometheus_workers.counterparts import instrumented
    from gunicorn_prometheus_workers.lifecycle import prepare_master

    prepare_master(instrumented)
    path = get_default_config_file()
    own = _read(path) if path is not None else {}
    ours = {}
    # What can't be used ends the start a moment later, where it is logged.
    with contextlib.suppress(SettingsError):
        settings = configuration.load()
        given = {name: getattr(settings, f"gunicorn_{name}") for name in _SETTINGS}
        if settings.gunicorn_bind is not None:
            given["bind"] = settings.gunicorn_bind.split(",")
        ours = {name: value for name, value in given.items() if value is not None}
    return ours | own


def _read(path: str) -> dict[str, Any]:
    """The user's own configuration; a mistake there ends the process, as with Gunicorn itself."""
    try:
        return runpy.run_path(path, run_name="__config__")
    except Exception:  # noqa: BLE001  whatever stands there
        print(f"Failed to read config file: {path}", file=sys.stderr)
        traceback.print_exc()
        sys.exit(1)


sys.modules[__name__].__class__ = _Configuration
