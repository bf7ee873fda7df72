"""Falcon, whose applications find route and error handlers by methods of their own."""

from __future__ import annotations

import functools
from typing import Any

from ..routing import ERROR, ROUTE, Context


def resolver() -> None:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    import falcon
    import falcon.asgi

    _tell_routes(falcon.App)
    _tell_errors(falcon.App, falcon.HTTPError, falcon.HTTPStatus)
    _tell_errors(falcon.asgi.App, falcon.HTTPError, falcon.HTTPStatus)


def _tell_routes(application: Any) -> None:
    get_responder = application._get_responder

    @functools.wraps(get_responder)
    def get_and_tell(self: Any, request: Any) -> Any:
        context = _context(request)
        context.setdefault(ROUTE, "")
        found = get_responder(self, request)
        context[ROUTE] = found[3] or ""
        return found

    application._get_responder = get_and_tell


def _tell_errors(application: Any, *answers: type[Exception]) -> None:
    """Exceptions that are answers are none that a framework has to answer."""
    handle_exception = application._handle_exception

    @functools.wraps(handle_exception)
    def tell_and_handle(self: Any, request: Any, response: Any, error: Any, *rest: Any) -> Any:
        if not isinstance(error, answers):
            _context(request)[ERROR] = type(error)
        return handle_exception(self, request, response, error, *rest)

    application._handle_exception = tell_and_handle


def _context(request: Any) -> Context:
    """The environ or scope that a request was made from."""
    context: Context = request.scope if hasattr(request, "scope") else request.env
    return context
