"""Starlette and FastAPI, which leave in the scope which of their routes was taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..routing import Context, Resolver

_REST = "/{path}"
_MOST_ENDPOINTS = 1000


def resolver() -> Resolver:
    """See :mod:`gunicorn_prometheus_workers.routes`."""
    #: The paths of the routes that lead to an endpoint, for applications that leave no more.
    leading_to: dict[Any, str] = {}

    def route(scope: Context) -> str | None:
        """The path format of an answered request's route, with those of the mounts before it."""
        router = scope.get("router")
        if router is None:
            return None
        matched = scope.get("route")
        path: str | None
        if matched is not None:
            path = _own_path(scope, matched)
        else:
            endpoint = scope.get("endpoint")
            if endpoint is None:
                return ""
            path = leading_to.get(endpoint)
            if path is None:
                path = _path_of_endpoint(router, endpoint)
                if len(leading_to) < _MOST_ENDPOINTS:
                    leading_to[endpoint] = path
        if not path:
            return ""
        outside = scope.get("app_root_path")
        root = scope.get("root_path", "")
        if outside is None or root == outside:
            return path
        return _mounted_at(router.routes, root.removeprefix(outside)) + path

    return route


def _own_path(scope: Context, route: Any) -> str:
    """The path format of a route below its mounts; "" if it is a mount that found nothing."""
    if hasattr(route, "app") and hasattr(route, "routes"):  # a mount
        return "" if route.routes else _REST
    # FastAPI gives routers that it has included one route for all their places.
    effective = scope.get("fastapi", {}).get("effective_route_context")
    if effective is not None and effective.original_route is route:
        route = effective
    path: str = getattr(route, "path_format", "")
    return path


def _path_of_endpoint(router: Any, endpoint: Any) -> str:
    """The path format of the route with that endpoint, below its mounts; "" if there is none."""
    for route in _all_routes(router.routes):
        if getattr(route, "endpoint", None) is endpoint:
            path: str = route.path_format
            return path
        if getattr(route, "app", None) is endpoint and hasattr(route, "path_format"):
            return _own_path({}, route)
    return ""


def _all_routes(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        yield route
        yield from _all_routes(getattr(route, "routes", None) or ())


def _mounted_at(routes: Iterable[Any], path: str) -> str:
    """The path formats of the mounts that lead to a path below which everything is mounted."""
    for mount in routes:
        inner = getattr(mount, "routes", None)
        if inner is None:
            continue
        if not hasattr(mount, "path_regex"):  # by host
            found = _mounted_at(inner, path)
            if found:
                return found
            continue
        match = mount.path_regex.match(f"{path}/")
        if match is not None:
            here: str = mount.path_format.removesuffix(_REST)
            rest = match["path"].rstrip("/")
            return here + (_mounted_at(inner, f"/{rest}") if rest else "")
    return ""
