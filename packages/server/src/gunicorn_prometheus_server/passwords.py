"""Passwords against their bcrypt hashes, without letting strangers take the CPU.

bcrypt is made to be slow. So one password at a time is verified, in a thread,
and after each wrong one there is a pause; right ones are remembered, under a
key of this process, and cost nothing the next time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import time
from collections.abc import Mapping

#: Passwords that may wait for their turn.
_MOST_WAITING = 16
#: A pause of so many times what a wrong password took: it leaves strangers a fifth of a CPU.
_REST = 4.0
#: All that bcrypt looks at; bcrypt 5 refuses longer ones instead of cutting them.
_MOST_BYTES = 72
_MOST_REMEMBERED = 1000


class Crowded(Exception):
    """Too many passwords wait to be verified."""


class Passwords:
    """Used by the event loop's thread."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: set[bytes] = set()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def admit(self, users: Mapping[bytes, bytes], authorization: bytes) -> bool:
        """Whether the value of an Authorization header is of one of the users: names and hashes.

        Raises Crowded.
        """
        credentials = _basic(authorization)
        if credentials is None:
            return False
        name, password = credentials
        hashed = users.get(name)
        seal = self._seal(name, password, hashed)
        if seal in self._right:
            return True
        if self._waiting >= _MOST_WAITING:
            raise Crowded
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        rest = 0.0
        try:
            if seal in self._right:
                return True
            started = time.monotonic()
            # An unknown name takes as long as a known one: always the same of the known ones.
            against = hashed or self._any(users, name)
            matches = await asyncio.to_thread(_matches, password, against)
            if matches and hashed is not None:
                self._remember(seal)
                return True
            rest = _REST * (time.monotonic() - started)
            return False
        finally:
            asyncio.get_running_loop().call_later(rest, self._turn.release)

    def _seal(self, *parts: bytes | None) -> bytes:
        return hmac.digest(self._key, repr(parts).encode(), "sha256")

    def _any(self, users: Mapping[bytes, bytes], name: bytes) -> bytes:
        hashes = sorted(users.values())
        return hashes[int.from_bytes(self._seal(name), "big") % len(hashes)]

    def _remember(self, seal: bytes) -> None:
        if len(self._right) >= _MOST_REMEMBERED:
            self._right.clear()
        self._right.add(seal)


def _basic(authorization: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of the Basic scheme (RFC 7617)."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password[:_MOST_BYTES]) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    # Some versions of bcrypt refuse a zero byte and others end at it: no password has one.
    return bcrypt.checkpw(password.replace(b"\0", b"?"), hashed) and b"\0" not in password
