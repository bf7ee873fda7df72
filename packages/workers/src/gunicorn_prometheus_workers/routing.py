"""Finding the route of a request after it has been answered, whatever the framework.

A framework that leaves its route in the environ or the scope is asked for it
there; others are made to leave it. What does that is found by entry point:
members of ``gunicorn_prometheus.routes`` bear the name of the framework's
module and are loaded only in a process where that is loaded already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from typing import Any

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.logs import log

from .labels import ALL

#: Key in an environ or scope. The application, or a resolver, sets it to the route of the request:
#: a text that is the same for all requests of its kind; "" if there is no route for it.
ROUTE = "gunicorn_prometheus.route"
#: Key in an environ or scope, set by resolvers to the class of the exception that the framework
#: has answered. Only the class: its traceback would keep the environ alive, and that the exception.
ERROR = "gunicorn_prometheus.error"

#: An environ of WSGI or a scope of ASGI.
Context = MutableMapping[str, Any]
#: Gives the route of an answered request, "" if its framework has none, None if it doesn't know.
#: The same for the same request, however often it is asked. May raise; that is logged once.
Resolver = Callable[[Context], str | None]


class Routes:
    """Knows the frameworks that are loaded. One for each worker process; for any thread."""

    def __init__(self) -> None:
        self._members = {point.name: point for point in plugins.members(plugins.ROUTES)}
        self._modules = 0
        self._resolvers: tuple[Resolver, ...] = ()

    def discover(self) -> None:
        """Look for frameworks that were loaded since the last time."""
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        for name in [name for name in self._members if name in sys.modules]:
            point = self._members.pop(name)
            try:
                resolver = point.load()()
                if resolver is not None:
                    self._resolvers += (resolver,)
            except Exception:
                log.exception("routes of %s are not recognised; paths are counted instead", name)

    def find(self, context: Context) -> str | None:
        """The route of an answered request; see :data:`Resolver`."""
        route: str | None = context.get(ROUTE)
        if route is None:
            for resolve in self._resolvers:
                route = resolve(context)
                if route is not None:
                    break
        return route


def unknown(context: Context) -> None:
    """The route of a request where routes are not asked for."""


def everywhere(context: Context) -> str:
    """The route of a request where endpoints are not told apart."""
    return ALL
