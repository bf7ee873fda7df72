"""``python -m gunicorn_prometheus_server``: the exporter process.

The master starts it with the listening socket as a descriptor. Started by
hand it opens the configured address and serves the configured directory.
Its exit status is 0 or 1 only: before Gunicorn 26.1 a child that ends with 3
or 4 would stop the server.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from typing import NoReturn

from gunicorn_prometheus_core import plugins, settings
from gunicorn_prometheus_core.errors import MissingPart, SettingsError, StorageUnavailable
from gunicorn_prometheus_core.exposition import Collector, Exposition
from gunicorn_prometheus_core.logs import log

from .app import App
from .scrapes import Scrapes
from .serving import serve


def main(argv: list[str] | None = None) -> int:
    """Serve until asked to end. Gives the exit status."""
    arguments = _arguments(argv)
    _log_like_gunicorn()
    try:
        effective = settings.load()
        directory = arguments.directory or effective.multiproc_dir
        if directory is None:
            raise SettingsError("PROMETHEUS_MULTIPROC_DIR is not set: nothing to serve")
        storage = plugins.load(plugins.STORAGE, effective.backend)().open(effective, directory)
        recorder = plugins.load(plugins.STORAGE, "mmap")().activate(directory)
        recorder.bind("exporter")
        listener = _listener(arguments.fd, effective)
    except (SettingsError, MissingPart, StorageUnavailable, OSError) as error:
        log.error("%s", error)
        return 1
    try:
        app = App(Scrapes(Exposition(storage, _collectors()), recorder))
        asyncio.run(serve(app, listener, arguments.parent))
    finally:
        storage.close()
        recorder.close()
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n")  # instead of 2


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="gunicorn_prometheus_server",
        description="Serve the metrics that Gunicorn's workers have recorded. "
        "Everything not given here is read from the environment.",
    )
    parser.add_argument("--directory", help="directory of the pages (PROMETHEUS_MULTIPROC_DIR)")
    parser.add_argument("--fd", type=int, help="listening socket, as an inherited descriptor")
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent's pid")
    return parser.parse_args(argv)


def _listener(fd: int | None, effective: settings.Settings) -> socket.socket:
    if fd is not None:
        return socket.socket(fileno=fd)
    address = effective.bind_address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, effective.metrics_port), family=family)


def _collectors() -> dict[str, Collector]:
    """The installed collectors; one that can't be loaded is logged and left out."""
    collectors: dict[str, Collector] = {}
    for point in plugins.members(plugins.COLLECTORS):
        try:
            collectors[point.name] = point.load()()
        except Exception:
            log.exception("collector %s could not be loaded; its families are left out", point.name)
    return collectors


def _log_like_gunicorn() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S %z",
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


if __name__ == "__main__":
    # On Python before 3.11, which doesn't know PYTHONSAFEPATH, leave the working directory out.
    if sys.version_info < (3, 11) and os.environ.get("PYTHONSAFEPATH") and sys.path:
        sys.path.pop(0)
    sys.exit(main())
