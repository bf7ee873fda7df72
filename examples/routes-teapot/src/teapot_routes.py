"""Tells the Gunicorn exporter for Prometheus the routes of teapot: the entry point ``teapot``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def resolver() -> Callable[[Mapping[str, Any]], str | None]:
    """Called once in each worker whose application has imported ``teapot``."""
    return route


def route(environ: Mapping[str, Any]) -> str | None:
    """The route of an answered request; "" if it has none, None if teapot had no part in it."""
    if "teapot.matched" not in environ:
        return None
    return environ["teapot.matched"] or ""
