"""An eventlet worker for Gunicorn 26 and later, which have none of their own."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

from gunicorn.sock import ssl_wrap_socket
from gunicorn.util import close
from gunicorn.workers.base_async import AsyncWorker

from . import _parts

with _parts.needed_for("PrometheusEventletWorker", _parts.extra("eventlet")):
    import eventlet
    from eventlet import hubs
    from eventlet.greenio import GreenSocket
    from eventlet.greenpool import GreenPool
    from eventlet.semaphore import Semaphore
    from eventlet.wsgi import WSGI_LOCAL

_TEMPORARY = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED})


class EventletWorker(AsyncWorker):
    """Serves every connection in a greenlet, ``worker_connections`` of them at most.

    Expects that eventlet has patched the standard library.
    """

    def init_process(self) -> None:
        hubs.use_hub()  # the master's doesn't survive the fork
        # Sockets of eventlet have no sendfile; files are read and sent instead.
        self.cfg.set("sendfile", False)
        super().init_process()

    def timeout_ctx(self) -> Any:
        return eventlet.Timeout(self.cfg.keepalive or None, False)

    def is_already_handled(self, respiter: Any) -> bool:
        if getattr(WSGI_LOCAL, "already_handled", None):
            raise StopIteration
        handled: bool = super().is_already_handled(respiter)
        return handled

    def handle_quit(self, sig: int, frame: Any) -> None:
        # A signal handler runs in the hub or in whatever greenlet, and must not block there.
        eventlet.spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        eventlet.spawn(super().handle_usr1, sig, frame)

    def run(self) -> None:
        """Accept until told to end, then wait for the connections that are open."""
        pool, free = GreenPool(self.worker_connections), Semaphore(self.worker_connections)
        listeners = [GreenSocket(sock.sock) for sock in self.sockets]
        acceptors = [eventlet.spawn(self._accept, each, pool, free) for each in listeners]
        while self.alive and self.ppid == os.getppid():
            self.notify()
            eventlet.sleep(1.0)
        for acceptor, listener in zip(acceptors, listeners, strict=True):
            acceptor.kill()
            listener.close()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while pool.running() and time.monotonic() < deadline:
            self.notify()
            eventlet.sleep(0.1)
        if pool.running():
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            for connection in list(pool.coroutines_running):
                connection.kill()

    def _accept(self, listener: Any, pool: Any, free: Any) -> None:
        while True:
            # First a place, so that no connection is accepted that can't be served.
            free.acquire()
            try:
                client, address = listener.accept()
            except OSError as error:
                free.release()
                if error.errno not in _TEMPORARY:
                    self.log.exception("Error accepting a connection")
                    eventlet.sleep(0.1)
                continue
            pool.spawn(self._serve, listener, client, address, free)

    def _serve(self, listener: Any, client: Any, address: Any, free: Any) -> None:
        try:
            if self.cfg.is_ssl:
                client = ssl_wrap_socket(client, self.cfg)
            self.handle(listener, client, address)
        except OSError as error:
            self.log.debug("Error in a TLS handshake: %s", error)
        finally:
            close(client)
            free.release()
