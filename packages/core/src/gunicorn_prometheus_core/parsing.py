"""From the text of a setting to its value.

Each function raises ValueError for a text that it can't use.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def text(value: str) -> str:
    """Any text."""
    return value


def flag(value: str) -> bool:
    """True or false, in the usual spellings."""
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(value)


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number in this range."""

    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(value)
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A number in this range."""

    def parse(value: str) -> float:
        number = float(value)
        if not low <= number <= high:  # not a number is not in between either
            raise ValueError(value)
        return number

    return parse


def one_of(*names: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(value: str) -> str:
        if value.strip() not in names:
            raise ValueError(value)
        return value.strip()

    return parse


def addresses(value: str) -> tuple[tuple[str, int], ...]:
    """``host:port,host:port``."""
    return tuple(_address(one) for one in value.split(","))


def _address(value: str) -> tuple[str, int]:
    host, separator, port = value.strip().rpartition(":")
    if not host or not separator:
        raise ValueError(value)
    return host.strip("[]"), integer(1, 65535)(port)


def redis_url(value: str) -> str:
    """A URL that redis-py understands and that says where."""
    parts = urlsplit(value.strip())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(value)
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(value)
    if parts.port == 0:  # what is no number raises by itself
        raise ValueError(value)
    return value.strip()
