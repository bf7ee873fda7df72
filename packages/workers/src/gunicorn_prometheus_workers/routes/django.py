"""Django, whose handler finds the route and leaves nothing of it where a server could look."""

from __future__ import annotations

import functools
import sys
from typing import Any

from ..routing import ERROR, ROUTE, Context


def resolver() -> None:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    from django.core import signals
    from django.core.handlers.base import BaseHandler

    resolve_request = BaseHandler.resolve_request

    @functools.wraps(resolve_request)
    def resolve_and_tell(self: Any, request: Any) -> Any:
        match = resolve_request(self, request)
        _context(request)[ROUTE] = f"/{match.route}"
        return match

    def started(sender: Any, environ: Any = None, scope: Any = None, **_: Any) -> None:
        context = environ if scope is None else scope
        context.setdefault(ROUTE, "")

    def failed(sender: Any, request: Any, **_: Any) -> None:
        error = sys.exc_info()[0]
        if error is not None:
            _context(request)[ERROR] = error

    BaseHandler.resolve_request = resolve_and_tell
    signals.request_started.connect(started, weak=False)
    signals.got_request_exception.connect(failed, weak=False)


def _context(request: Any) -> Context:
    """The environ or scope that a request was made from."""
    context: Context = request.environ if hasattr(request, "environ") else request.scope
    return context
