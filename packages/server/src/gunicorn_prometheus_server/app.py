"""What the exporter answers, as an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from gunicorn_prometheus_core.errors import StorageUnavailable
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.text import accepted, negotiate

from .page import Page
from .scrapes import Scrapes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_PLAIN: Headers = [(b"content-type", b"text/plain; charset=utf-8")]
_INDEX = b"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Gunicorn metrics</title>
<h1>Gunicorn metrics</h1><p><a href="metrics">metrics</a></p></html>
"""


class App:
    """Answers ``/metrics``, ``/-/healthy``, ``/-/ready`` and ``/``, and the paths of the page."""

    def __init__(self, scrapes: Scrapes, page: Page | None = None) -> None:
        self._scrapes = scrapes
        self._page = page
        self._complained = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, headers, body = await self._answer(scope)
        if status != 304:  # where it would have to be that of the answer left out
            headers = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: MutableMapping[str, Any]) -> tuple[int, Headers, bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            return 405, [*_PLAIN, (b"allow", b"GET, HEAD")], b"only GET and HEAD\n"
        match scope["path"]:
            case path if self._page is not None and self._page.has(path):
                asked = _headers(scope)
                return await self._page.answer(path, asked, _compresses(asked))
            case "/metrics":
                return await self._metrics(scope)
            case "/-/healthy":
                return 200, _PLAIN, b"healthy\n"
            case "/-/ready":
                status, _, body = await self._rendered(scope, names=["gunicorn_workers"])
                return (status, _PLAIN, b"ready\n" if status == 200 else body)
            case "/":
                return 200, [(b"content-type", b"text/html; charset=utf-8")], _INDEX
        return 404, _PLAIN, b"not found; metrics are at /metrics\n"

    async def _metrics(self, scope: MutableMapping[str, Any]) -> tuple[int, Headers, bytes]:
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        return await self._rendered(scope, names=query.get("name[]", []))

    async def _rendered(
        self, scope: MutableMapping[str, Any], names: list[str]
    ) -> tuple[int, Headers, bytes]:
        asked = _headers(scope)
        form = negotiate(asked.get(b"accept", b"").decode("latin-1"))
        compress = _compresses(asked)
        try:
            body = await self._scrapes.render(form, names, compress)
        except StorageUnavailable as error:
            self._complain("scrape failed: %s", error)
            return 503, _PLAIN, f"{error}\n".encode()
        except Exception:
            log.exception("scrape failed")
            return 500, _PLAIN, b"the scrape failed; the exporter's log says why\n"
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


def _headers(scope: MutableMapping[str, Any]) -> dict[bytes, bytes]:
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
