"""List the storage backends that are installed"""

from __future__ import annotations

import argparse
import importlib

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.settings import Settings

from . import output


def configure(parser: argparse.ArgumentParser) -> None:
    """It has no arguments of its own."""


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Name, distribution and version of each, and which one is set."""
    lines = [("NAME", "DISTRIBUTION", "VERSION", "")]
    broken = False
    for point in plugins.members(plugins.STORAGE):
        name, version = (point.dist.name, point.dist.version) if point.dist else ("?", "?")
        remark = "in use" if point.name == settings.storage else ""
        try:
            getattr(importlib.import_module(point.module), point.attr)
        except Exception as error:  # noqa: BLE001  whatever a third party's module raises
            broken = True
            remark = f"can't be loaded: {type(error).__name__}: {error}"
        lines.append((point.name, name, version, remark))
    output.rows(lines)
    return 1 if broken else 0
