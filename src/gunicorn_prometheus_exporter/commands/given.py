"""Settings that are given as arguments of a command, over all others."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import DECLARATIONS, Origin, Settings

#: The settings that can be given, by their arguments.
ENDPOINT = {
    "--port": "metrics_port",
    "--bind": "bind_address",
    "--web.config.file": "web_config_file",
}
PAGES = {"--multiproc-dir": "multiproc_dir"}
UPDATES = {"--update-interval": "sidecar_update_interval"}


def add(parser: argparse.ArgumentParser, arguments: dict[str, str]) -> None:
    """Let the parser take these arguments."""
    for argument, name in arguments.items():
        declared = DECLARATIONS[name]
        text = f"{declared.help} ({declared.variable})".replace("%", "%%")
        parser.add_argument(argument, dest=name, metavar="VALUE", help=text)


def applied(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings with those that were given. Raises SettingsError."""
    values: dict[str, Any] = {}
    origins = dict(settings.origins)
    for argument, name in (ENDPOINT | PAGES | UPDATES).items():
        text = getattr(arguments, name, None)
        if text is None:
            continue
        kind = DECLARATIONS[name].kind
        try:
            values[name] = kind.parse(text)
        except ValueError:
            raise SettingsError(
                f"{argument}={text!r} (from the command line): must be {kind.allowed}"
            ) from None
        origins[name] = Origin(argument, repr(text), "from the command line")
    return replace(settings, **values, origins=origins)
