"""Everybody who is connected: letting them in, and making room when there are too many."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import resource
import socket
from collections.abc import Iterable

from .access import Watched
from .connection import Connection, HandshakeFailed, TooSlow, accept, let_others
from .defects import Defects
from .exchange import Application, BadRequest, Patience, converse
from .refusals import Refusals

_MOST_CLIENTS = 512
#: How many have to go at a time when there are too many.
_SOME = 16
#: Bytes of answers that slow clients may keep from being forgotten, together.
_MOST_HELD_BYTES = 64 << 20
#: Of the kernel's memory, for each.
_SEND_BUFFER_BYTES = 128 << 10
#: Nobody has to go who has come, or has been answered, so short a time ago.
_GRACE_SECONDS = 0.02
_MOMENT_SECONDS = 0.01
_LAST_PATIENCE_SECONDS = 1.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Clients:
    """Used by the event loop's thread.

    When there are too many, those go that have made us wait longest: somebody
    who connects, asks and takes the answer is never among them.
    """

    def __init__(
        self,
        application: Application,
        access: Watched,
        refusals: Refusals,
        defects: Defects,
        patience: Patience,
    ) -> None:
        self._application = application
        self._access = access
        self._refusals = refusals
        self._defects = defects
        self._patience = patience
        self._clients: dict[Connection, asyncio.Task[None]] = {}
        # Half of the descriptors that we may have: the pages need some, too.
        self._most = min(_MOST_CLIENTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    async def accept(self, listener: socket.socket) -> None:
        """Let clients in, until cancelled."""
        listener.setblocking(False)
        while True:
            try:
                sock = await accept(listener)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    await self._make_room()
                await let_others()
                continue
            self._admit(sock)
            while len(self._clients) >= self._most:
                await self._make_room()

    async def leave(self, seconds: float) -> None:
        """Let those have their answer that ask, and close everything after that time at most.

        For a client to do its part, to ask or to take the answer, it has a second.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline and any(
            not client.idle
            and (not client.waits or loop.time() < client.since + _LAST_PATIENCE_SECONDS)
            for client in self._clients
        ):
            await asyncio.sleep(_MOMENT_SECONDS)
        tasks = list(self._clients.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _admit(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            if sock.family != socket.AF_UNIX:
                # The end of an answer must not wait until its beginning is acknowledged.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        connection.allow(self._patience.client)
        task = asyncio.create_task(self._attend(connection))
        self._clients[connection] = task
        task.add_done_callback(lambda _: self._forget(connection))

    def _forget(self, connection: Connection) -> None:
        # Here, because a task that is cancelled before it has begun runs no code of its own.
        del self._clients[connection]
        connection.close()

    async def _attend(self, connection: Connection) -> None:
        reason: str | None = None
        detail: object = ""
        try:
            access = self._access.now()
            if access.context is not None:
                await connection.handshake(access.context)
            if access.allowed_names and access.allowed_names.isdisjoint(connection.names()):
                reason = "certificate"
            else:
                await converse(connection, self._application, self._patience, self._sends)
        except TooSlow:
            # Having nothing more to ask is no offence.
            if not connection.idle:
                reason = "slow_reader" if connection.sending else "slow_request"
        except HandshakeFailed as error:
            reason, detail = "handshake", error
        except BadRequest as error:
            reason, detail = "large_request" if error.status == 431 else "bad_request", error
        except OSError:
            pass  # it has gone
        except Exception as error:  # noqa: BLE001  the border to all others; counted and logged
            self._defects.note("serving a client failed", error)
        if reason is not None:
            self._refusals.note(reason, detail)

    def _sends(self, body: bytes) -> None:
        """See to it that what is being sent fits into memory, counting what is shared once."""
        held = {id(client.sending): len(client.sending) for client in self._clients}
        if sum(held.values()) + len(body) > _MOST_HELD_BYTES:
            self._evict(client for client in self._clients if client.sending)

    async def _make_room(self) -> None:
        """Wait until some have gone, or for a moment if it is nobody's turn to go."""
        long_ago = asyncio.get_running_loop().time() - _GRACE_SECONDS
        evicted = self._evict(client for client in self._clients if client.since <= long_ago)
        if evicted:
            await asyncio.wait(evicted)
        else:
            await asyncio.sleep(_GRACE_SECONDS)

    def _evict(self, among: Iterable[Connection]) -> list[asyncio.Task[None]]:
        waiting = (client for client in among if client.waits)
        longest = heapq.nsmallest(_SOME, waiting, key=lambda client: client.since)
        for client in longest:
            self._clients[client].cancel()
            self._refusals.note("crowded")
        return [self._clients[client] for client in longest]
