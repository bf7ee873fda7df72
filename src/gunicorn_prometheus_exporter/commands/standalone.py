"""Serve a page directory, without a Gunicorn

For processes that record with prometheus_client's multiprocess mode, or to
look at what a server has left. The directory is made if it does not exist. It
runs until it gets SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import signal

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.settings import Settings

from . import given


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    given.add(parser, given.ENDPOINT | given.PAGES)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until told to end."""
    # A client that leaves must not end it.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    plugins.load(plugins.SERVER, "standalone")(given.applied(settings, arguments))
    return 0
