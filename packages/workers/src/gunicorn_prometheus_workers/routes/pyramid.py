"""Pyramid, whose requests know their route and leave no trace in the environ."""

from __future__ import annotations

import functools
from typing import Any

from ..routing import ERROR, ROUTE, Context, Resolver

_REQUEST = "gunicorn_prometheus.pyramid.request"


def resolver() -> Resolver:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    from pyramid.router import Router

    request_context = Router.request_context

    @functools.wraps(request_context)
    def leaving_request(self: Any, environ: Context) -> Any:
        context = request_context(self, environ)
        environ[_REQUEST] = context.request
        return context

    Router.request_context = leaving_request
    return route


def route(environ: Context) -> str | None:
    """The pattern of an answered request's route.

    An application that has no routes but looks for resources is one of which
    nobody knows the route.
    """
    # Taken away, or request and environ would keep each other alive.
    request = environ.pop(_REQUEST, None)
    if request is None:
        return None
    error = getattr(request, "exception", None)
    # One with a status is an answer, as in HTTPNotFound.
    if error is not None and not hasattr(error, "status_code"):
        environ.setdefault(ERROR, type(error))
    matched = getattr(request, "matched_route", None)
    if matched is None:
        return None
    pattern: str = matched.pattern
    environ[ROUTE] = pattern = pattern if pattern.startswith("/") else f"/{pattern}"
    return pattern
