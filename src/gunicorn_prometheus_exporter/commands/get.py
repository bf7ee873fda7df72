"""Print the metrics once

They are read from the pages of a running server, or from the storage that
hosts share, as its exporter would read them. What the exporter measures
itself, such as memory and CPU, is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from dataclasses import replace

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.text import negotiate

_MEDIA = {"text": "text/plain", "openmetrics": "application/openmetrics-text; version=1.0.0"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add its arguments."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only families or samples of these names"
    )
    parser.add_argument(
        "--directory", help="directory of the pages (default: PROMETHEUS_MULTIPROC_DIR)"
    )
    parser.add_argument("--format", choices=_MEDIA, default="text", help="default: text")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print them; status 1 if there are none."""
    with contextlib.ExitStack() as stack:
        if arguments.directory is not None:
            settings = replace(settings, storage="mmap", multiproc_dir=arguments.directory)
        backend = plugins.backend(settings)
        if settings.storage != "mmap":
            # A directory of its own, so that all hosts are others.
            directory = stack.enter_context(tempfile.TemporaryDirectory())
        elif settings.multiproc_dir is not None:
            directory = settings.multiproc_dir
        else:
            raise SettingsError(
                "PROMETHEUS_MULTIPROC_DIR (not set): say with --directory where the pages are; "
                "a server's log names its metrics endpoint, which gives the same"
            )
        storage = backend.open(settings, directory)
        stack.callback(storage.close)
        text = Exposition(storage).render(negotiate(_MEDIA[arguments.format]), arguments.names)
    # As they are served, whatever encoding the terminal or the locale asks for.
    sys.stdout.buffer.write(text)
    return 0 if text else 1
