"""Serve what another server records

It serves what is in a shared page directory (PROMETHEUS_MULTIPROC_DIR), which
may be read-only, or what all servers publish to Redis (REDIS_ENABLED). It runs
until it gets SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import signal

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.settings import Settings

from . import given


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    given.add(parser, given.ENDPOINT | given.PAGES | given.UPDATES)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until told to end."""
    # A client that leaves must not end it.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    plugins.load(plugins.SERVER, "sidecar")(given.applied(settings, arguments))
    return 0
