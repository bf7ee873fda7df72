"""A small web framework: patterns, and functions that answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

#: Key in the environ: the pattern that has matched, None if none has.
MATCHED = "teapot.matched"


class App:
    """A WSGI application."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., str]]] = []

    def route(self, pattern: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """Let a function answer paths such as ``/pots/{number}``."""
        compiled = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", pattern))

        def add(answer: Callable[..., str]) -> Callable[..., str]:
            self._routes.append((pattern, compiled, answer))
            return answer

        return add

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ[MATCHED] = None
        status, text = "404 Not Found", "There is no such pot.\n"
        for pattern, compiled, answer in self._routes:
            found = compiled.fullmatch(environ["PATH_INFO"])
            if found is not None:
                environ[MATCHED] = pattern
                status, text = "200 OK", answer(**found.groupdict())
                break
        body = text.encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]
