"""What we need of Gunicorn beyond its documented interface, and where its versions differ."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from gunicorn import version_info

#: Whether the response to a request in HTTP/2 says how many bytes of its body were sent.
HTTP2_RESPONSES_COUNT = version_info >= (26,)

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


def asgi_client_gone(receive: Any, send: Any) -> bool:
    """Whether the client of a request to Gunicorn's ASGI worker has closed the connection.

    Before 25 the task of such a request is cancelled at once, and in HTTP/2 its stream says it.
    """
    return bool(getattr(getattr(receive, "__self__", None), "_closed", False))


def eventlet_worker() -> Any:
    """Gunicorn's own eventlet worker, or since 26, which has none, ours."""
    home = "._eventlet" if version_info >= (26,) else "gunicorn.workers.geventlet"
    return import_module(home, __package__).EventletWorker
