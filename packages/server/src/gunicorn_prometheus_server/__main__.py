"""``python -m gunicorn_prometheus_server``: the exporter process.

The master starts it with the listening socket as a descriptor. Started by
hand it opens the configured address and serves the configured directory.
Its exit status is 0 or 1 only: before Gunicorn 26.1 a child that ends with 3
or 4 would stop the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from typing import NoReturn

from gunicorn_prometheus_core import configuration, plugins
from gunicorn_prometheus_core.errors import MissingPart, SettingsError, StorageUnavailable
from gunicorn_prometheus_core.exposition import Collector, Exposition
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Pages
from gunicorn_prometheus_core.settings import Settings

from .app import App
from .publishing import Health, Shared
from .scrapes import Scrapes
from .serving import serve, stand_by


def main(argv: list[str] | None = None) -> int:
    """Serve until asked to end. Gives the exit status."""
    arguments = _arguments(argv)
    _log_like_gunicorn()
    with contextlib.ExitStack() as stack:
        try:
            effective = _settings(arguments.settings)
            pages = plugins.load(plugins.STORAGE, "mmap")()
            directory = arguments.directory or _directory(effective, pages, stack)
            storage = stack.enter_context(contextlib.closing(pages.open(effective, directory)))
            shared = plugins.backend(effective) if effective.storage != "mmap" else None
            recorder = pages.activate(directory)
            stack.callback(recorder.close)
            recorder.bind("exporter")
            listener = None if arguments.publish_only else _listener(arguments.fd, effective)
        except (SettingsError, MissingPart, StorageUnavailable, OSError) as error:
            log.error("%s", error)
            return 1
        collectors = _collectors()
        if shared is not None:
            storage = Shared(storage, shared, effective, directory, recorder, arguments.parent)
            collectors["storage"] = Health(storage)
            storage.start()
            stack.callback(storage.stop)
        if listener is None:
            asyncio.run(stand_by(arguments.parent))
        else:
            app = App(Scrapes(Exposition(storage, collectors), recorder))
            asyncio.run(serve(app, listener, arguments.parent))
    return 0


def _settings(fd: int | None) -> Settings:
    """Those that the master has in force; of one started by hand, those that it finds."""
    if fd is None:
        return configuration.load()
    with open(fd) as given:
        return Settings.loads(given.read())


def _directory(effective: Settings, pages: Pages, stack: contextlib.ExitStack) -> str:
    """The configured directory; a private one where others' pages come from elsewhere."""
    if effective.multiproc_dir is not None:
        return effective.multiproc_dir
    if effective.storage == "mmap":
        raise SettingsError("PROMETHEUS_MULTIPROC_DIR is not set: nothing to serve")
    own = pages.prepare(effective, uid=os.geteuid(), gid=os.getegid())
    stack.callback(own.discard)
    return own.path


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
    parser.add_argument(
        "--publish-only", action="store_true", help="serve nothing, publish to a shared storage"
    )
    parser.add_argument(
        "--settings", type=int, help="the effective settings as JSON, in an inherited descriptor"
    )
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent's pid")
    return parser.parse_args(argv)


def _listener(fd: int | None, effective: Settings) -> socket.socket:
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
