"""The command ``gunicorn-prometheus-exporter``.

* :mod:`~gunicorn_prometheus_exporter.commands.doctor`: what is set, installed and possible
* :mod:`~gunicorn_prometheus_exporter.commands.backends`: the storage backends that there are
* :mod:`~gunicorn_prometheus_exporter.commands.get`: the metrics, once
* :mod:`~gunicorn_prometheus_exporter.commands.output`: how they are printed
* :mod:`~gunicorn_prometheus_exporter.commands.sidecar`: serve what a server records elsewhere
* :mod:`~gunicorn_prometheus_exporter.commands.standalone`: serve a directory without a server
* :mod:`~gunicorn_prometheus_exporter.commands.health`: whether one of these is well
* :mod:`~gunicorn_prometheus_exporter.commands.given`: settings that are given as arguments

Each of them has ``configure``, which adds its arguments to a parser, and
``run``, which gives the exit status: 0, or 1 where something is not as it
should be. A setting or an argument that can't be used is status 2.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from gunicorn_prometheus_core import configuration
from gunicorn_prometheus_core.errors import MissingPart, SettingsError, StorageUnavailable

from . import backends, doctor, get, health, sidecar, standalone

PROGRAM = "gunicorn-prometheus-exporter"
_COMMANDS = {
    "doctor": doctor,
    "backends": backends,
    "get": get,
    "sidecar": sidecar,
    "standalone": standalone,
    "health": health,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command as the command line says; gives the exit status."""
    # As other commands do: `get | head` ends without a word.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    whole = parser()
    arguments = whole.parse_args(argv)
    if arguments.run is None:  # help, also where a setting can't be used
        whole.print_help()
        return 0
    try:
        settings = configuration.load(path=arguments.config)
        configuration.put_in_force(settings)
        status: int = arguments.run(arguments, settings)
    except SettingsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except (MissingPart, StorageUnavailable, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def parser() -> argparse.ArgumentParser:
    """What the command line can be."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Prometheus metrics for Gunicorn. The server itself needs no command: "
        "let its worker_class be gunicorn_prometheus_exporter.PrometheusWorker.",
        epilog="Settings come from the environment, over the YAML file, over the defaults; "
        "`doctor` shows them.",
    )
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument(
        "--config",
        metavar="FILE",
        help=f"YAML file of settings (default: {configuration.FILE_VARIABLE} from the environment)",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        about = (module.__doc__ or "").partition("\n\n")
        command = commands.add_parser(
            name, parents=[every], help=about[0], description=f"{about[0]}. {about[2]}"
        )
        command.set_defaults(run=module.run)
        module.configure(command)
    summary = commands.add_parser("help", help="Show this", parents=[every])
    summary.set_defaults(run=None)
    return top
