"""``python -m gunicorn_prometheus_server``: the exporter process.

The master starts it with the listening sockets as descriptors. Started by
hand, without a directory, it is the sidecar. Its exit status is 0 or 1 only:
before Gunicorn 26.1 a child that ends with 3 or 4 would stop the server.
"""

from __future__ import annotations

import os
import sys

# On Python before 3.11, which doesn't know PYTHONSAFEPATH, leave the working directory out. Before
# anything else is imported: a module of the application must not take a name of ours.
if __name__ == "__main__" and sys.version_info < (3, 11) and os.environ.get("PYTHONSAFEPATH"):
    sys.path.pop(0)

import argparse
import contextlib
import socket
from collections.abc import Sequence
from typing import NoReturn

from gunicorn_prometheus_core import configuration, plugins
from gunicorn_prometheus_core.errors import MissingPart, SettingsError, StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Pages
from gunicorn_prometheus_core.settings import Settings

from . import sidecar
from .running import log_like_gunicorn, run


def main(argv: list[str] | None = None) -> int:
    """Serve until asked to end. Gives the exit status."""
    arguments = _arguments(argv)
    log_like_gunicorn()
    try:
        settings = _settings(arguments.settings)
        if arguments.directory is None:
            sidecar.sidecar(settings)
        else:
            _serve(settings, arguments)
    except (SettingsError, MissingPart, StorageUnavailable, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


def _serve(settings: Settings, arguments: argparse.Namespace) -> None:
    """Serve the directory that the arguments name, and record into it."""
    directory = arguments.directory
    with contextlib.ExitStack() as stack:
        pages: Pages = plugins.load(plugins.STORAGE, "mmap")()
        storage = stack.enter_context(contextlib.closing(pages.open(settings, directory)))
        recorder = pages.activate(directory)
        stack.callback(recorder.close)
        recorder.bind("exporter")

        def listen(stack: contextlib.ExitStack) -> Sequence[socket.socket]:
            if not arguments.fd:
                return sidecar.open_sockets(settings, stack)
            return [stack.enter_context(socket.socket(fileno=fd)) for fd in arguments.fd]

        serves = None if arguments.publish_only else listen
        run(settings, directory, storage, recorder, serves, parent=arguments.parent)


def _settings(fd: int | None) -> Settings:
    """Those that the master has in force; of one started by hand, those that it finds."""
    if fd is None:
        return configuration.load()
    with open(fd) as given:
        return Settings.loads(given.read())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n")  # instead of 2


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="gunicorn_prometheus_server",
        description="Serve the metrics that Gunicorn's workers have recorded. "
        "Everything not given here is read from the environment. "
        "Without a directory this is the sidecar.",
    )
    parser.add_argument("--directory", help="directory of the pages, to be read and written")
    parser.add_argument(
        "--fd", type=int, action="append", help="listening socket, as an inherited descriptor"
    )
    parser.add_argument(
        "--publish-only", action="store_true", help="serve nothing, publish to a shared storage"
    )
    parser.add_argument(
        "--settings", type=int, help="the effective settings as JSON, in an inherited descriptor"
    )
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent's pid")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
