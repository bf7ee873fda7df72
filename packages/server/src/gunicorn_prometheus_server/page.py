"""The page at ``/``, the files it is made of, and the object it shows.

Nothing is computed until somebody asks, and then at most twice a second, however many look.
"""

from __future__ import annotations

import gzip
import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from gunicorn_prometheus_core.errors import StorageUnavailable

from .defects import Defects
from .exchange import PLAIN, Answer, Headers
from .scrapes import Scrapes, TooMany
from .status import Status

_STATUS_PATH = "/api/v1/status"
_FRESH_SECONDS = 0.5
_GZIP_LEVEL = 4

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
}
#: https://www.w3.org/TR/CSP3/: our own files and nothing else, and no text ever becomes markup.
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_GUARDED: Headers = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_VARIES: Headers = [(b"vary", b"Accept-Encoding")]


@dataclass(frozen=True)
class _File:
    """One file of the page."""

    media: bytes
    content: bytes

    @cached_property
    def etag(self) -> bytes:
        return b'"%b"' % hashlib.sha256(self.content).hexdigest()[:32].encode()

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    def answer(self, asked: dict[bytes, bytes], compress: bool) -> Answer:
        headers = [
            (b"content-type", self.media),
            # Asked for anew each time, and mostly not sent again: an upgrade shows at once.
            (b"cache-control", b"no-cache"),
            (b"etag", self.etag),
            *_VARIES,
            *_GUARDED,
        ]
        known = asked.get(b"if-none-match", b"").replace(b"W/", b"")
        if self.etag in [tag.strip() for tag in known.split(b",")]:
            return 304, headers, b""
        if compress:
            return 200, [*headers, (b"content-encoding", b"gzip")], self.compressed
        return 200, headers, self.content


class Page:
    """Answers the paths of the page. ``answer`` is called from the event loop."""

    def __init__(self, status: Status, scrapes: Scrapes, defects: Defects) -> None:
        self._status = status
        self._scrapes = scrapes
        self._defects = defects
        self._files = _files()
        self._text, self._compressed, self._made = b"", b"", float("-inf")

    def has(self, path: str) -> bool:
        """Whether a path is one of the page's."""
        return path == _STATUS_PATH or path in self._files

    async def answer(self, path: str, asked: dict[bytes, bytes], compress: bool) -> Answer:
        """Answer a GET or HEAD of a path that it has, with these headers. Raises TooMany."""
        if path in self._files:
            return self._files[path].answer(asked, compress)
        headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            *_VARIES,
            *_GUARDED,
        ]
        try:
            text, compressed = await self._scrapes.alone(self._fresh)
        except TooMany:
            raise
        except StorageUnavailable as error:  # logged and counted by scrapes, which see it as well
            return 503, [PLAIN], f"{error}\n".encode()
        except Exception as error:  # noqa: BLE001  the border to scrapes; counted and logged
            self._defects.note("what the page shows could not be computed", error)
            text = b"what the page shows could not be computed; the exporter's log says why\n"
            return 500, [PLAIN], text
        if compress:
            return 200, [*headers, (b"content-encoding", b"gzip")], compressed
        return 200, headers, text

    def _fresh(self) -> tuple[bytes, bytes]:
        """The object as it was less than a moment ago, plain and compressed."""
        if time.monotonic() - self._made >= _FRESH_SECONDS:
            self._text = self._status.text()
            self._compressed = gzip.compress(self._text, _GZIP_LEVEL, mtime=0)
            self._made = time.monotonic()
        return self._text, self._compressed


def _files() -> dict[str, _File]:
    """By path. The page is at ``/``, the rest below ``/page/``."""
    found = {}
    for file in (resources.files(__package__) / "files").iterdir():
        media = _TYPES.get(file.name[file.name.rfind(".") :])
        if media is not None:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            found[path] = _File(media, file.read_bytes())
    return found
