"""The settings under the names that earlier versions had for them.

New code reads :mod:`gunicorn_prometheus_core.configuration`.
"""

from __future__ import annotations

import enum
import os
from typing import Any

from gunicorn_prometheus_core.configuration import in_force, load, load_yaml_config
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import DECLARATIONS, Settings

__all__ = [
    "ConfigManager",
    "ConfigState",
    "ExporterConfig",
    "cleanup_config",
    "get_config",
    "get_config_manager",
    "initialize_config",
    "load_yaml_config",
]

#: What these are where they are not set: earlier versions had defaults for them.
_GUNICORN = {"gunicorn_workers": 1, "gunicorn_timeout": 30, "gunicorn_keepalive": 2}


class ExporterConfig:
    """The settings of this process as attributes: ``prometheus_metrics_port``, ``redis_host``, ...

    A setting of the metrics endpoint has ``prometheus_`` before its name.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or in_force()

    def __getattr__(self, name: str) -> Any:
        own = name.removeprefix("prometheus_")
        if own not in DECLARATIONS:
            raise AttributeError(f"{name!r} is not a setting")
        value = getattr(self._settings, own)
        return _GUNICORN.get(own) if value is None else value

    @property
    def prometheus_ssl_enabled(self) -> bool:
        """Whether the metrics are served by TLS."""
        enabled = self._settings.ssl_enabled
        return self._settings.ssl_certfile is not None if enabled is None else enabled

    def get_gunicorn_config(self) -> dict[str, Any]:
        """``workers``, ``timeout`` and ``keepalive``."""
        return {name.removeprefix("gunicorn_"): getattr(self, name) for name in _GUNICORN}

    def get_prometheus_config(self) -> dict[str, Any]:
        """``bind_address``, ``port`` and ``multiproc_dir``."""
        return {
            "bind_address": self._settings.bind_address,
            "port": self._settings.metrics_port,
            "multiproc_dir": self._settings.multiproc_dir,
        }

    def validate(self) -> bool:
        """True: settings that can't be used raise an error when they are read."""
        return True


class ConfigState(enum.Enum):
    """Whether a ConfigManager has read the settings."""

    UNINITIALIZED = "uninitialized"
    INITIALIZED = "initialized"
    ERROR = "error"


class ConfigManager:
    """Reads the settings of this process and keeps them."""

    def __init__(self) -> None:
        self._config: ExporterConfig | None = None
        self.validation_errors: list[str] = []

    @property
    def state(self) -> ConfigState:
        """Whether the settings have been read."""
        if self.validation_errors:
            return ConfigState.ERROR
        return ConfigState.INITIALIZED if self._config else ConfigState.UNINITIALIZED

    @property
    def is_initialized(self) -> bool:
        """Whether the settings have been read."""
        return self._config is not None

    def initialize(self, config_file: str | None = None, **variables: Any) -> None:
        """Read the settings, from that YAML file and those variables as well.

        Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`.
        """
        if config_file is not None:
            load_yaml_config(config_file)
        os.environ.update({name: str(value) for name, value in variables.items()})
        self.validation_errors = []
        try:
            self._config = ExporterConfig(load())
        except SettingsError as error:
            self.validation_errors = [str(error)]
            raise

    def get_config(self) -> ExporterConfig:
        """The settings; those of this process, where none have been read here."""
        return self._config or ExporterConfig()

    def reload_config(self) -> None:
        """Read them again."""
        self.initialize()

    def cleanup(self) -> None:
        """Forget them."""
        self._config, self.validation_errors = None, []


_manager = ConfigManager()


def get_config_manager() -> ConfigManager:
    """The one of this process."""
    return _manager


def initialize_config(config_file: str | None = None, **variables: Any) -> None:
    """Read the settings. Raises :class:`~gunicorn_prometheus_core.errors.SettingsError`."""
    _manager.initialize(config_file, **variables)


def get_config() -> ExporterConfig:
    """The settings of this process."""
    return _manager.get_config()


def cleanup_config() -> None:
    """Forget what ``initialize_config`` has read."""
    _manager.cleanup()
