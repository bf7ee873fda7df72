"""The exporter process, seen from the master that starts it and keeps it alive.

It is executed, not forked, so that it inherits no locks, no monkey-patching
and nothing of the application. The listening sockets are the master's: while
the process is restarted, scrapes wait in a socket's queue instead of being
refused.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gunicorn_prometheus_core import listening, plugins
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.listening import Address
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings

from . import identity, reconfiguring

#: Longest pauses before the process is started again: after it gave up by itself, and after it
#: was killed, which says nothing against starting it.
_LONGEST_PAUSE = 30.0
_LONGEST_PAUSE_KILLED = 1.0
_STEADY_SECONDS = 10.0
_BIND_RETRY_SECONDS = 1.0
_STOP_SECONDS = 5.0


def _addresses(settings: Settings) -> tuple[Address, ...]:
    return listening.addresses(settings.bind_address, settings.metrics_port)


class Exporter:
    """The sockets and the process. Used by the master's main loop only."""

    def __init__(
        self,
        settings: Settings,
        directory: str,
        *,
        uid: int,
        gid: int,
        log_path: str | None,
        inherited: Sequence[int],
        on_restart: Callable[[], None],
        on_bind_failure: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._directory = directory
        #: In sidecar mode the process is there to publish only.
        self._serves = not settings.sidecar_mode
        self._uid, self._gid = uid, gid
        self._log_path = log_path
        self._on_restart = on_restart
        self._on_bind_failure = on_bind_failure
        #: One for each address, or none while one of them can't be had; at first those of the
        #: server that this one takes over from.
        self._sockets = [socket.socket(fileno=fd) for fd in inherited]
        for sock in self._sockets:
            sock.set_inheritable(False)
        #: Whether they are those of our addresses.
        self._settled = False
        self._process: subprocess.Popen[bytes] | None = None
        #: Whether the process has been told to end, because another is to take its place.
        self._replacing = False
        self._pause = 0.0
        self._next_start = 0.0
        self._next_bind = 0.0
        self._started = 0.0
        self._complained: set[str] = set()

    @property
    def listeners(self) -> Sequence[socket.socket]:
        """The listening sockets of the metrics endpoint; none while they can't be had."""
        return self._sockets

    @property
    def pid(self) -> int:
        """Pid of the running process, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def reconfigure(self, settings: Settings) -> None:
        """Let the process be replaced by one with these settings; scrapes wait meanwhile.

        If their address can't be had the endpoint stays where it is, which is logged.
        """
        before, self._settings = self._settings, settings
        if self._sockets and _addresses(settings) != _addresses(before):
            listening.forget(self._bind())
        self._replace()

    def reopen_log(self) -> None:
        """Let the process be replaced by one that writes into the log as it is found now."""
        if self._log_path is not None:
            self._replace()

    def tend(self) -> None:
        """Bind, start or restart, whatever is due. Never waits, never raises OSError."""
        now = time.monotonic()
        if self._serves and not self._settled and now >= self._next_bind:
            self._next_bind = now + _BIND_RETRY_SECONDS
            for sock in self._bind():
                sock.close()  # The server that we take over from may still have use for it.
        self.reap()
        if self._process is not None and self._process.returncode is not None:
            self._note_end(self._process.returncode, now)
        # Others see what is published, also while there is nothing to serve from.
        useful = bool(self._sockets) or self._settings.storage != "mmap"
        if useful and self._process is None and now >= self._next_start:
            self._start(now)

    def reap(self) -> None:
        """Reap the process if it has ended, before Gunicorn takes it for a worker.

        May be called from a signal handler.
        """
        if self._process is not None:
            self._process.poll()

    def _note_end(self, status: int, now: float) -> None:
        self._process = None
        if self._replacing:
            self._replacing = False
            self._next_start = now
            return
        longest = _LONGEST_PAUSE_KILLED if status < 0 else _LONGEST_PAUSE
        steady = now - self._started > _STEADY_SECONDS
        self._pause = 0.0 if steady else min(longest, self._pause * 2 or 0.1)
        self._next_start = now + self._pause
        self._on_restart()
        log.warning("the exporter process ended with status %s; starting it again", status)

    def stop(self, *, handed_on: bool = False) -> None:
        """End the process and close the sockets, which somebody else may have been handed.

        Waits until it has ended.
        """
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if handed_on:
            for sock in self._sockets:
                sock.close()
        else:
            listening.forget(self._sockets)
        self._sockets = []

    def _replace(self) -> None:
        """Let the process make way for another one, if there is one."""
        if self._process is not None:
            self._replacing = True
            self._process.terminate()

    def _bind(self) -> Sequence[socket.socket]:
        """Have a socket for each of our addresses; gives those that are no longer wanted."""
        settings, before = self._settings, self._sockets
        try:
            # Its files can have changed since they were checked.
            scheme = reconfiguring.scheme(settings)
            self._sockets = listening.listen(_addresses(settings), before)
        except (OSError, SettingsError) as error:
            self._on_bind_failure()
            self._settled = bool(before)
            self._complain(
                "can't serve metrics at %s %s: %s; %s",
                settings.said("bind_address"),
                settings.said("metrics_port"),
                error,
                "it stays where it is" if before else "trying again until it works",
            )
            return ()
        self._settled = True
        self._replace()  # one that only publishes, or is to serve from others
        for sock in self._sockets:
            if sock not in before:
                self._own(sock)
                log.info("Metrics at: %s", listening.url(sock, scheme))
        return [sock for sock in before if sock not in self._sockets]

    def _own(self, sock: socket.socket) -> None:
        """Give the file of a unix socket to the workers' user, as Gunicorn does with its own."""
        if sock.family == socket.AF_UNIX and os.geteuid() == 0:
            with contextlib.suppress(OSError):  # it has been removed already
                os.chown(sock.getsockname(), self._uid, self._gid, follow_symlinks=False)

    def _start(self, now: float) -> None:
        server = plugins.find(plugins.SERVER, "default")
        if server is None:
            remedy = plugins.REMEDIES[plugins.SERVER, "default"]
            self._complain("metrics are recorded but not served: pip install %s", remedy)
            self._next_start = float("inf")
            return
        fds = tuple(sock.fileno() for sock in self._sockets)
        command = [
            sys.executable,
            *("-m", server.module.removesuffix(".__main__")),
            *(part for fd in fds for part in ("--fd", str(fd))),
            *(() if fds else ("--publish-only",)),
            *("--directory", self._directory),
            *("--parent", str(os.getpid())),
            *("--settings", "0"),
        ]
        try:
            self._process = self._spawn(command, fds)
        except OSError as error:
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or 0.1)
            self._next_start = now + self._pause
            self._complain("can't start the exporter process: %s", error)
        else:
            self._started = now
            log.info("Exporter process: %s", self._process.pid)

    def _spawn(self, command: list[str], fds: tuple[int, ...]) -> subprocess.Popen[bytes]:
        # Not from the working directory: a module of the application must not take a name of ours.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        output = open(self._log_path, "ab") if self._log_path else None  # noqa: SIM115  closed below
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=fds,
                # Its own session: Ctrl-C is for the master, which ends the exporter last.
                start_new_session=True,
                **self._identity(),
            )
            assert process.stdin is not None
            # They fit into the pipe: this doesn't wait. One that has ended already can't be told.
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(self._settings.dumps().encode())
            return process
        finally:
            if output is not None:
                output.close()

    def _identity(self) -> dict[str, Any]:
        """What makes the process run as the workers do, when we are root and they are not."""
        if os.geteuid() != 0 or (self._uid, self._gid) == (0, 0):
            return {}
        groups = identity.groups(self._uid, self._gid)
        return {"user": self._uid, "group": self._gid, "extra_groups": groups}

    def _complain(self, message: str, *details: object) -> None:
        """Log an error, once."""
        if message not in self._complained:
            self._complained.add(message)
            log.error(message, *details)
