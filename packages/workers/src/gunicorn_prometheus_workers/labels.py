"""Keeping label values few and readable, whatever strangers request."""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable, Iterable

#: Methods of RFC 9110 and RFC 5789.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
OTHER_METHOD = "_OTHER"
#: A value beyond the limit of its label.
OTHER = "_other_"
#: Endpoint of a request for what the application doesn't have, as far as can be seen.
UNMATCHED = "_unmatched_"
#: Endpoint of every request where endpoints are not told apart.
ALL = "_all_"
#: Method and endpoint where a request could not be read so far.
UNKNOWN = "UNKNOWN"

_LONGEST = 200
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
#: Bad request, not found, client gone: what strangers get for paths that they make up.
_UNTOLD = frozenset({400, 404, 499})
_METHOD_NOT_ALLOWED = 405
#: The application has written its routes itself: they may be so many times as many as paths.
_ROUTES_PER_PATH = 10


def method_label(method: str) -> str:
    """The method, or ``_OTHER`` for one that no RFC knows."""
    return method if method in METHODS else OTHER_METHOD


def clean(text: str) -> str:
    """A text as a label value: of limited length, without control characters and surrogates."""
    text = text[:_LONGEST]
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _REPLACEMENT for char in text)


def path_text(path: str) -> str:
    """A path as servers give it, a character for each byte, as a label value."""
    path = path[:_LONGEST]
    return clean(
        path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")
    )


def excluding(patterns: Iterable[str]) -> Callable[[str], bool] | None:
    """What tells whether a path is one of these, where ``*`` at the end stands for any text.

    None if there are none.
    """
    patterns = list(patterns)
    if not patterns:
        return None
    whole = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
    beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    return lambda path: path in whole or path.startswith(beginnings)


class Values:
    """The values of a label that a worker has seen, up to a limit. For any thread.

    ``known`` are those that its slot holds already, so that the limit counts
    for all workers that ever own the slot together.
    """

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._limit = limit
        # From _thread, so that no monkey-patching makes it a lock of greenlets.
        self._lock = allocate_lock()
        #: Only grows.
        self.known = set(known) - {OTHER, UNMATCHED, ALL, UNKNOWN}

    def admit(self, value: str, times: int = 1) -> str:
        """The value, or ``_other_`` if it is new and there are ``times`` the limit already."""
        most = self._limit * times
        if value not in self.known:
            if len(self.known) >= most:
                return OTHER
            with self._lock:
                if len(self.known) >= most:
                    return OTHER
                self.known.add(value)
        return value


class Endpoints:
    """What the label ``endpoint`` of requests is."""

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._values = Values(limit, known)

    def label(self, path: str, status: int, route: str | None = None) -> str:
        """The endpoint of a request for a path that was answered with this status.

        ``route`` is what its framework has to say: a route, "" where it has
        none for it, None where nobody knows; or ``_all_`` for any request.
        """
        if route == ALL:
            return ALL
        if status == _METHOD_NOT_ALLOWED or route == "":
            # With 405, or strangers could multiply all endpoints by all methods.
            return UNMATCHED
        if route is not None:
            return self._values.admit(clean(route), _ROUTES_PER_PATH)
        # Without a call for the usual path: a scanner comes through here with every request.
        if len(path) > _LONGEST or not (path.isascii() and path.isprintable()):
            path = path_text(path)
        if path in self._values.known:
            return path
        return UNMATCHED if status in _UNTOLD else self._values.admit(path)
