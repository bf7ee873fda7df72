"""What the exporter answers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.text import accepted, negotiate

from .exchange import PLAIN, Answer
from .page import Page
from .refusals import Refusals
from .scrapes import Scrapes, TookTooLong, TooMany, Wanted

_INDEX = b"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Gunicorn metrics</title>
<h1>Gunicorn metrics</h1><p><a href="metrics">metrics</a></p></html>
"""


#: What remains of the scraper's patience for the answer's way to it.
_ON_THE_WAY_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class App:
    """Answers ``/metrics``, ``/-/healthy``, ``/-/ready`` and ``/``, and the paths of the page."""

    def __init__(self, scrapes: Scrapes, refusals: Refusals, page: Page | None = None) -> None:
        self._scrapes = scrapes
        self._page = page
        self._refusals = refusals
        self._complained = False
        self._look: asyncio.Task[Answer] | None = None
        self._next_look = 0.0

    async def __call__(self, scope: Mapping[str, Any]) -> Answer:
        """Answer a request. Called by the event loop."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, [PLAIN, (b"allow", b"GET, HEAD")], b"only GET and HEAD\n"
        try:
            return await self._answer(scope)
        except TooMany:
            self._refusals.note("busy", "scrapes under way")
            return 503, [PLAIN, (b"retry-after", b"1")], b"too many scrapes are under way\n"

    async def _answer(self, scope: Mapping[str, Any]) -> Answer:
        match scope["path"]:
            case path if self._page is not None and self._page.has(path):
                asked = _headers(scope)
                return await self._page.answer(path, asked, _compresses(asked))
            case "/metrics":
                return await self._metrics(scope)
            case "/-/healthy":
                return 200, [PLAIN], b"healthy\n"
            case "/-/ready":
                return await self._readiness()
            case "/":
                return 200, [(b"content-type", b"text/html; charset=utf-8")], _INDEX
        return 404, [PLAIN], b"not found; metrics are at /metrics\n"

    async def _readiness(self) -> Answer:
        """Whether the pages can be read. Looked at once a second, as everybody may ask."""
        now = time.monotonic()
        if self._look is None or now >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            look = self._rendered({"headers": []}, names=["gunicorn_workers"])
            self._look = asyncio.create_task(look)
        status, _, _ = await asyncio.shield(self._look)
        if status == 200:
            return 200, [PLAIN], b"ready\n"
        return 503, [PLAIN], b"not ready; /metrics says why\n"

    async def _metrics(self, scope: Mapping[str, Any]) -> Answer:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return await self._rendered(scope, names=query.get("name[]", []))

    async def _rendered(self, scope: Mapping[str, Any], names: list[str]) -> Answer:
        asked = _headers(scope)
        form = negotiate(asked.get(b"accept", b"").decode("latin-1"))
        compress = _compresses(asked)
        seconds = _patience(asked.get(b"x-prometheus-scrape-timeout-seconds", b""))
        try:
            wanted = Wanted(form, frozenset(names), compress)
            body = await self._scrapes.render(wanted, seconds)
        except TookTooLong:
            self._refusals.note("timeout")
            return 503, [PLAIN], b"the scrape took longer than you would wait\n"
        except StorageUnavailable as error:
            self._complain("scrape failed: %s", error)
            return 503, [PLAIN], f"{error}\n".encode()
        except TooMany:
            raise
        except Exception:
            log.exception("scrape failed")
            return 500, [PLAIN], b"the scrape failed; the exporter's log says why\n"
        self._complained = False
        headers = [
            (b"content-type", form.content_type.encode()),
            (b"vary", b"Accept, Accept-Encoding"),
        ]
        if compress:
            headers.append((b"content-encoding", b"gzip"))
        return 200, headers, body

    def _complain(self, message: str, *details: object) -> None:
        """Log an error once, until it has gone."""
        if not self._complained:
            self._complained = True
            log.error(message, *details)


def _headers(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The request's headers, those of one name joined."""
    asked: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        asked[name] = b",".join((asked[name], value)) if name in asked else value
    return asked


def _compresses(asked: dict[bytes, bytes]) -> bool:
    """Whether the client takes gzip (RFC 9110, 12.5.3)."""
    accept_encoding = asked.get(b"accept-encoding", b"").decode("latin-1")
    qualities = {coding: quality for coding, _, quality in accepted(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _patience(scrape_timeout: bytes) -> float:
    """Seconds until an answer has to be there, for what Prometheus says of its own patience."""
    try:
        seconds = float(scrape_timeout)
    except ValueError:
        return math.inf
    if not 0 < seconds < math.inf:
        return math.inf
    return seconds - min(_ON_THE_WAY_SECONDS, seconds / 10)
