"""Tell whether the metrics endpoint is well, for a container's health check

It asks the endpoint that these settings describe, at the first of its
addresses. Status 0: it answers; 1: it does not, and one line says why.
"""

from __future__ import annotations

import argparse

from gunicorn_prometheus_core import parsing, plugins
from gunicorn_prometheus_core.settings import Settings

from . import given

_PATIENCE = parsing.seconds(0.01, 3600)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    given.add(parser, given.ENDPOINT)
    parser.add_argument(
        "--ready", action="store_true", help="it also has to be able to read the metrics"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=5.0, metavar="SECONDS", help="default: 5 seconds"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Ask, and print the answer."""
    well, line = plugins.load(plugins.SERVER, "health")(
        given.applied(settings, arguments), ready=arguments.ready, seconds=arguments.timeout
    )
    print(line)
    return 0 if well else 1


def _seconds(text: str) -> float:
    try:
        seconds: float = _PATIENCE.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be {_PATIENCE.allowed}") from None
    return seconds
