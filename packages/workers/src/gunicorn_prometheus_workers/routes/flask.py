"""Flask, which takes its request out of the environ at the end, and its route with it."""

from __future__ import annotations

import functools
from typing import Any

from ..routing import ERROR, ROUTE, Context, Resolver

_REQUEST = "gunicorn_prometheus.flask.request"


def resolver() -> Resolver:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    from flask import Flask, got_request_exception, request

    # A method for applications to call and override, where a receiver of request_started would cost
    # every request ten times as much.
    request_context = Flask.request_context

    @functools.wraps(request_context)
    def leaving_request(self: Any, environ: Context) -> Any:
        context = request_context(self, environ)
        environ[_REQUEST] = context.request
        return context

    def failed(sender: Any, exception: BaseException, **_: Any) -> None:
        request.environ[ERROR] = type(exception)

    Flask.request_context = leaving_request
    got_request_exception.connect(failed, weak=False)
    return route


def route(environ: Context) -> str | None:
    """The rule of an answered request."""
    # Taken away, or request and environ would keep each other alive.
    request = environ.pop(_REQUEST, None)
    if request is None:
        return None
    rule = request.url_rule
    found: str = "" if rule is None else rule.rule
    environ[ROUTE] = found
    return found
