"""What we need of Gunicorn beyond its documented interface, in one place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Hook = Callable[..., Any]


def add_hooks(cfg: Any, begin: Hook, end: Hook, *, debug: bool = False) -> None:
    """Call ``begin`` as ``pre_request`` and ``end`` as ``post_request``, around the user's own.

    For use in a worker process: the configuration is its own copy there, so
    the master's stays as the user wrote it. ``debug`` says whether messages of
    that level are logged, which is all that Gunicorn's own ``pre_request`` does.
    """
    # Without detour where the user has no hook: every request comes through here.
    cfg.set("pre_request", _before(begin, _users(cfg, "pre_request", debug)))
    cfg.set("post_request", _after(end, _users(cfg, "post_request")))


def _before(begin: Hook, users: Hook | None) -> Hook:
    if users is None:
        return begin

    def pre_request(worker: Any, req: Any) -> None:
        begin(worker, req)
        users(worker, req)

    return pre_request


def _after(end: Hook, users: Hook | None) -> Hook:
    if users is None:
        return end

    def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
        end(worker, req, environ, resp)
        users(worker, req, environ, resp)

    return post_request


def logs_debug(log: Any) -> bool:
    """Whether Gunicorn's logger, or the user's in its place, may log messages of level debug."""
    error_log = getattr(log, "error_log", None)
    return not isinstance(error_log, logging.Logger) or error_log.isEnabledFor(logging.DEBUG)


def _users(cfg: Any, name: str, default_matters: bool = False) -> Hook | None:
    """The hook to call besides ours; None for a default of Gunicorn's that does nothing."""
    hook: Hook = getattr(cfg, name)
    is_default = getattr(hook, "__module__", "") == "gunicorn.config" and hook.__name__ == name
    if is_default and not default_matters:
        return None
    return hook
