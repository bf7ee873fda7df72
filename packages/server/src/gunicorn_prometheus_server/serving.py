"""The process around the application: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import uvicorn

from .app import App

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 1


class _Server(uvicorn.Server):
    """Uvicorn's server, leaving signals to us: it would end the process by raising them again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def install_signal_handlers(self) -> None:
        """What uvicorn before 0.29 calls instead."""


async def serve(app: App, listener: socket.socket, parent: int | None) -> None:
    """Answer requests until SIGTERM or SIGINT comes, or the parent process is gone."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    watch = asyncio.create_task(_watch(server, parent)) if parent is not None else None
    await server.serve(sockets=[listener])
    if watch is not None:
        watch.cancel()


async def _watch(server: uvicorn.Server, parent: int) -> None:
    """Ask the server to end when the process that started us is gone."""
    while os.getppid() == parent:
        await asyncio.sleep(_LOOK_SECONDS)
    server.should_exit = True


async def stand_by(parent: int | None) -> None:
    """Serve nothing until SIGTERM or SIGINT comes, or the parent process is gone."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    while not ended.is_set() and parent in (None, os.getppid()):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)
