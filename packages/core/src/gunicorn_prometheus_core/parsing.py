"""The kinds of value that settings take: what is allowed, and from text to value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from . import listening

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    ``parse`` raises ValueError for a text that it can't use. ``yaml`` says what
    such a value is in a YAML file: ``str``, ``int``, ``float``, ``bool``, or
    ``seq`` for a list, whose items reach ``parse`` with commas between them.
    """

    allowed: str
    parse: Callable[[str], Any]
    yaml: tuple[str, ...] = ("str",)


def text(allowed: str) -> Kind:
    """Any text; without the line break that a file ends with."""
    return Kind(allowed, str.strip, ("str", "int", "float"))


def secret(allowed: str) -> Kind:
    """Any text, exactly as it is."""
    return Kind(allowed, str, ("str", "int", "float"))


def flag() -> Kind:
    """True or false, in the usual spellings."""
    return Kind("true or false", _flag, ("bool",))


def _flag(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(value)


def integer(low: int, high: int) -> Kind:
    """A whole number in this range."""

    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(value)
        return number

    return Kind(f"a whole number from {low} to {high}", parse, ("int",))


def seconds(low: float, high: float) -> Kind:
    """A number in this range."""

    def parse(value: str) -> float:
        number = float(value)
        if not low <= number <= high:  # not a number is not in between either
            raise ValueError(value)
        return number

    return Kind(f"seconds from {low:g} to {high:.15g}", parse, ("int", "float"))


def one_of(*names: str) -> Kind:
    """One of these words."""

    def parse(value: str) -> str:
        if value.strip() not in names:
            raise ValueError(value)
        return value.strip()

    return Kind(" or ".join(names), parse)


def addresses() -> Kind:
    """``host:port,host:port``."""
    allowed = "addresses such as host1:26379,host2:26379"
    return Kind(allowed, lambda value: tuple(map(_address, value.split(","))), ("str", "seq"))


def _address(value: str) -> tuple[str, int]:
    host, separator, port = value.strip().rpartition(":")
    if not host or not separator:
        raise ValueError(value)
    number: int = integer(1, 65535).parse(port)
    return host.strip("[]"), number


def listen_addresses() -> Kind:
    """Addresses to listen at; the text itself, since those without a port take another setting's.

    See :func:`gunicorn_prometheus_core.listening.addresses`.
    """

    def parse(value: str) -> str:
        listening.addresses(value, 1)
        return value.strip()

    return Kind(
        "an IPv4 or IPv6 address or a host name of this machine, with or without a port as in "
        "[::1]:9091, or unix:/path; several with commas between them",
        parse,
        ("str", "seq"),
    )


def bounds(most: int) -> Kind:
    """Rising numbers above zero, so many of them at most."""

    def parse(value: str) -> tuple[float, ...]:
        numbers = tuple(float(part) for part in value.split(","))
        rising = all(a < b for a, b in pairwise((0.0, *numbers, math.inf)))
        if not rising or len(numbers) > most:
            raise ValueError(value)
        return numbers

    allowed = f"rising numbers above 0 such as 0.1,0.5,2.5, {most} of them at most"
    return Kind(allowed, parse, ("str", "seq", "int", "float"))


def paths() -> Kind:
    """Paths of requests."""
    allowed = "paths such as /health,/static/*, where * at the end stands for whatever follows"
    return Kind(allowed, lambda value: tuple(map(_path, value.split(","))), ("str", "seq"))


def _path(value: str) -> str:
    path = value.strip()
    if not path.startswith("/") or "*" in path[:-1]:
        raise ValueError(value)
    return path


def redis_url() -> Kind:
    """A URL that redis-py understands and that says where."""
    return Kind(
        "a URL such as redis://user:password@host:6379/0, rediss://... for TLS, or "
        "unix:///path/to/socket; special characters in its parts are percent-encoded",
        _redis_url,
    )


def _redis_url(value: str) -> str:
    parts = urlsplit(value.strip())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(value)
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(value)
    if parts.port == 0:  # what is no number raises by itself
        raise ValueError(value)
    return value.strip()
