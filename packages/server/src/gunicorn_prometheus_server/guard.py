"""Who may ask, and how often: before the application sees a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .access import Access, RateLimit, Watched
from .exchange import PLAIN, Answer, Application
from .passwords import Crowded, Passwords
from .refusals import Refusals

#: Open to everybody: what supervises containers has no passwords, and they tell nothing.
_OPEN = frozenset({"/-/healthy", "/-/ready"})
_CHALLENGE = (b"www-authenticate", b'Basic realm="metrics", charset="UTF-8"')
_LATER = (b"retry-after", b"1")


class Guard:
    """An application around another. Used by the event loop's thread."""

    def __init__(self, application: Application, access: Watched, refusals: Refusals) -> None:
        self._application = application
        self._access = access
        self._refusals = refusals
        self._passwords = Passwords()
        self._bucket: _Bucket | None = None

    async def __call__(self, scope: Mapping[str, Any]) -> Answer:
        access = self._access.now()
        status, headers, body = await self._answer(access, scope)
        names = {name for name, _ in access.headers}
        kept = [header for header in headers if header[0] not in names]
        return status, [*kept, *access.headers], body

    async def _answer(self, access: Access, scope: Mapping[str, Any]) -> Answer:
        if scope["path"] in _OPEN:
            return await self._application(scope)
        if not self._has_token(access.rate_limit):
            self._refusals.note("busy", "rate_limit")
            return 429, [PLAIN, _LATER], b"too many requests\n"
        if access.users:
            given = next((v for name, v in scope["headers"] if name == b"authorization"), b"")
            try:
                admitted = await self._passwords.admit(access.users, given)
            except Crowded:
                self._refusals.note("busy", "passwords that are to be verified")
                return 503, [PLAIN, _LATER], b"too many passwords to verify\n"
            if not admitted:
                self._refusals.note("unauthorized")
                return 401, [PLAIN, _CHALLENGE], b"user name and password, please\n"
        return await self._application(scope)

    def _has_token(self, limit: RateLimit | None) -> bool:
        if limit is None:
            return True
        if self._bucket is None or self._bucket.limit != limit:
            self._bucket = _Bucket(limit)
        return self._bucket.take()


class _Bucket:
    """A token bucket."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._clock = asyncio.get_running_loop().time
        self._tokens = float(limit.burst)
        self._at = self._clock()

    def take(self) -> bool:
        now = self._clock()
        self._tokens = min(self.limit.burst, self._tokens + (now - self._at) / self.limit.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
