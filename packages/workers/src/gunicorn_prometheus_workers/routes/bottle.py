"""Bottle, which leaves its route in the environ, but not the exception that it answers."""

from __future__ import annotations

import functools
from typing import Any

from ..routing import ERROR, Context, Resolver


def resolver() -> Resolver:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    import bottle

    make = bottle.HTTPError.__init__

    @functools.wraps(make)
    def make_and_tell(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        # Made by the application outside of a request, it has no environ.
        environ = getattr(bottle.request, "environ", None)
        if isinstance(self.exception, Exception) and environ is not None:
            environ[ERROR] = type(self.exception)

    bottle.HTTPError.__init__ = make_and_tell
    return route


def route(environ: Context) -> str | None:
    """The rule of an answered request."""
    if "bottle.app" not in environ:
        return None
    found = environ.get("bottle.route")
    rule: str = "" if found is None else found.rule
    return rule
