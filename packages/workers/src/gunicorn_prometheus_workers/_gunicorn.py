"""What we need of Gunicorn beyond its documented interface, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def add_hooks(cfg: Any, begin: Callable[[Any], None], end: Callable[[Any, Any], None]) -> None:
    """Call ``begin`` before and ``end`` after each request, around the user's own hooks.

    For use in a worker process: the configuration is its own copy there, so
    the master's stays as the user wrote it.
    """
    users_pre = _users(cfg, "pre_request")
    users_post = _users(cfg, "post_request")

    def pre_request(worker: Any, req: Any) -> None:
        begin(req)
        if users_pre is not None:
            users_pre(worker, req)

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        end(req, resp)
        if users_post is not None:
            users_post(worker, req, environ, resp)

    cfg.set("pre_request", pre_request)
    cfg.set("post_request", post_request)


def _users(cfg: Any, name: str) -> Callable[..., Any] | None:
    """The hook the user has set; None while it is Gunicorn's default, which does nothing."""
    hook: Callable[..., Any] = getattr(cfg, name)
    if getattr(hook, "__module__", "") == "gunicorn.config" and hook.__name__ == name:
        return None
    return hook
