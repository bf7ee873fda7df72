"""Saying which extra brings a library that a worker needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gunicorn_prometheus_core.errors import MissingPart, reason


@contextmanager
def needed_for(worker: str, remedy: str) -> Iterator[None]:
    """Around imports that a worker needs: what fails there is a MissingPart with the remedy.

    Gunicorn raises RuntimeError for a library that is missing or too old for it.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        raise MissingPart(f"{worker} can't be used: {reason(error)}; {remedy}") from error


def extra(name: str) -> str:
    """The remedy for a library that is missing."""
    return f'pip install "gunicorn-prometheus-exporter[{name}]"'
