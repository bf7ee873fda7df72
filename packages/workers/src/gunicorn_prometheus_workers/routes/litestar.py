"""Litestar, which leaves its route in the scope, but not the exception that it answers."""

from __future__ import annotations

import functools
from typing import Any

from ..routing import ERROR, Context, Resolver


def resolver() -> Resolver:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    from litestar import Litestar

    call = Litestar.__call__

    @functools.wraps(call)
    async def listening(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if _failed not in self.after_exception:
            self.after_exception.append(_failed)
        await call(self, scope, receive, send)

    Litestar.__call__ = listening
    return route


async def _failed(error: Exception, scope: Any) -> None:
    # An HTTP exception is an answer, whatever its status.
    if not hasattr(error, "status_code"):
        scope[ERROR] = type(error)


def route(scope: Context) -> str | None:
    """The template of an answered request's path."""
    if "litestar_app" not in scope:
        return None
    template: str = scope.get("path_template", "")
    return template
