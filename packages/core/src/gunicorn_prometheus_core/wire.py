"""The bytes that messages of protobuf are made of.

See https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_DOUBLE = struct.Struct("<d")
#: Doubles hold whole numbers up to here, one by one.
_LARGEST = 2**53


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits to a byte."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def natural(number: float) -> int:
    """A count as messages can hold it: what is none, such as NaN, must not cost the others."""
    return round(min(number, _LARGEST)) if number > 0 else 0


def uint(tag: int, number: int) -> bytes:
    """A field of a whole number that is not negative."""
    return varint(tag << 3) + varint(number)


def sint(tag: int, number: int) -> bytes:
    """A field of a whole number."""
    return uint(tag, _zigzag(number))


def double(tag: int, number: float) -> bytes:
    """A field of a double."""
    return varint(tag << 3 | 1) + _DOUBLE.pack(number)


def delimited(tag: int, content: bytes) -> bytes:
    """A field of bytes: a text, or a message."""
    return varint(tag << 3 | 2) + varint(len(content)) + content


def packed(tag: int, numbers: Iterable[int]) -> bytes:
    """A field of several whole numbers."""
    return delimited(tag, b"".join(varint(_zigzag(number)) for number in numbers))
