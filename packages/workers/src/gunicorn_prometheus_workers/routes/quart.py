"""Quart, which sends Flask's signals."""

from __future__ import annotations

from typing import Any

from ..routing import ERROR, ROUTE


def resolver() -> None:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    from quart import got_request_exception, request, request_started

    def started(sender: Any, **_: Any) -> None:
        rule = request.url_rule
        request.scope.setdefault(ROUTE, "" if rule is None else rule.rule)

    def failed(sender: Any, exception: BaseException, **_: Any) -> None:
        request.scope[ERROR] = type(exception)

    request_started.connect(started, weak=False)
    got_request_exception.connect(failed, weak=False)
