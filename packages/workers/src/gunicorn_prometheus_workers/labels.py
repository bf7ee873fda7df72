"""Keeping label values few, whatever strangers request."""

from __future__ import annotations

from collections.abc import Iterable

#: Methods of RFC 9110 and RFC 5789.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
OTHER_METHOD = "_OTHER"
#: Endpoint of a path beyond the limit.
OTHER = "_other_"
#: Endpoint of a path of which nothing shows that the application knows it.
UNMATCHED = "_unmatched_"
#: Method and endpoint where a request could not be read so far.
UNKNOWN = "UNKNOWN"

_LONGEST = 200
#: Bad request, not found, client gone: what strangers get for paths that they make up.
_UNTOLD = frozenset({400, 404, 499})


def method_label(method: str) -> str:
    """The method, or ``_OTHER`` for one that no RFC knows."""
    return method if method in METHODS else OTHER_METHOD


class Endpoints:
    """The endpoints a worker has seen, up to a limit.

    ``known`` are those that its slot holds already, so that the limit counts
    for all workers that ever own the slot together.
    """

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._limit = limit
        self._known = set(known) - {OTHER, UNMATCHED, UNKNOWN}

    def label(self, path: str, status: int) -> str:
        """The endpoint for a path that was answered with this status."""
        path = path[:_LONGEST]
        if path in self._known:
            return path
        if status in _UNTOLD:
            return UNMATCHED
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(path)
        return path
