"""The process: its event loop, its signals, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Sequence

from .clients import Clients

_LOOK_SECONDS = 0.5
#: The master kills who has not ended after five seconds.
_GRACE_SECONDS = 4.0


async def serve(clients: Clients, listeners: Sequence[socket.socket], parent: int | None) -> None:
    """Answer requests until SIGTERM or SIGINT comes, or the parent process is gone."""
    accepting = [asyncio.create_task(clients.accept(listener)) for listener in listeners]
    told = asyncio.create_task(stand_by(parent))
    done, _ = await asyncio.wait([told, *accepting], return_when=asyncio.FIRST_COMPLETED)
    for task in accepting:
        task.cancel()
    await asyncio.gather(*accepting, return_exceptions=True)
    await clients.leave(_GRACE_SECONDS)
    for task in done:
        task.result()


async def stand_by(parent: int | None) -> None:
    """Wait until SIGTERM or SIGINT comes, or the parent process is gone."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    while not waiting.done() and parent in (None, os.getppid()):
        await asyncio.wait([waiting], timeout=_LOOK_SECONDS)
    waiting.cancel()
