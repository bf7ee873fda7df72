"""The exporter process, seen from the master that starts it and keeps it alive.

It is executed, not forked, so that it inherits no locks, no monkey-patching
and nothing of the application. The listening socket is the master's: while
the process is restarted, scrapes wait in the socket's queue instead of being
refused.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings

_BACKLOG = 128
#: Longest pauses before the process is started again: after it gave up by itself, and after it
#: was killed, which says nothing against starting it.
_LONGEST_PAUSE = 30.0
_LONGEST_PAUSE_KILLED = 1.0
_STEADY_SECONDS = 10.0
_BIND_RETRY_SECONDS = 1.0
_STOP_SECONDS = 5.0


def bind(address: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family, kind, proto, _, target = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _address(settings: Settings) -> tuple[str, int]:
    return settings.bind_address, settings.metrics_port


class Exporter:
    """The socket and the process. Used by the master's main loop only."""

    def __init__(
        self,
        settings: Settings,
        directory: str,
        *,
        uid: int,
        gid: int,
        log_path: str | None,
        inherited_fd: int | None,
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
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        #: Whether the process has been told to end, because another is to take its place.
        self._replacing = False
        self._pause = 0.0
        self._next_start = 0.0
        self._next_bind = 0.0
        self._started = 0.0
        self._complained: set[str] = set()
        if inherited_fd is not None:
            self._socket = socket.socket(fileno=inherited_fd)
            self._socket.set_inheritable(False)

    @property
    def listener(self) -> socket.socket | None:
        """The listening socket of the metrics endpoint; None while it can't be had."""
        return self._socket

    @property
    def pid(self) -> int:
        """Pid of the running process, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def reconfigure(self, settings: Settings) -> None:
        """Let the process be replaced by one with these settings; scrapes wait meanwhile.

        If their address can't be had the endpoint stays where it is, which is logged.
        """
        before, self._settings = self._settings, settings
        moved = _address(settings) != _address(before)
        if self._socket is not None and moved:
            old, self._socket = self._socket, None
            self._bind("it stays where it is")
            if self._socket is None:
                self._socket = old
            else:
                old.close()
        self._replace()

    def tend(self) -> None:
        """Bind, start or restart, whatever is due. Never waits, never raises OSError."""
        now = time.monotonic()
        if self._serves and self._socket is None and now >= self._next_bind:
            self._next_bind = now + _BIND_RETRY_SECONDS
            self._bind("trying again until it works")
        self.reap()
        if self._process is not None and self._process.returncode is not None:
            self._note_end(self._process.returncode, now)
        # Others see what is published, also while there is nothing to serve from.
        useful = self._socket is not None or self._settings.storage != "mmap"
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

    def stop(self) -> None:
        """End the process and close the socket. Waits until it has ended."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _replace(self) -> None:
        """Let the process make way for another one, if there is one."""
        if self._process is not None:
            self._replacing = True
            self._process.terminate()

    def _bind(self, otherwise: str) -> None:
        settings = self._settings
        try:
            self._socket = bind(settings.bind_address, settings.metrics_port)
        except OSError as error:
            self._on_bind_failure()
            self._complain(
                "can't serve metrics at %s %s: %s; %s",
                settings.said("bind_address"),
                settings.said("metrics_port"),
                error,
                otherwise,
            )
        else:
            host, port = self._socket.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            log.info("Metrics at: http://%s:%s/metrics", shown, port)
            self._replace()  # one that only publishes

    def _start(self, now: float) -> None:
        server = plugins.find(plugins.SERVER, "default")
        if server is None:
            remedy = plugins.REMEDIES[plugins.SERVER, "default"]
            self._complain("metrics are recorded but not served: pip install %s", remedy)
            self._next_start = float("inf")
            return
        fds = () if self._socket is None else (self._socket.fileno(),)
        command = [
            sys.executable,
            *("-m", server.module.removesuffix(".__main__")),
            *(("--fd", str(*fds)) if fds else ("--publish-only",)),
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
        try:
            groups = os.getgrouplist(pwd.getpwuid(self._uid).pw_name, self._gid)
        except KeyError:
            groups = [self._gid]
        return {"user": self._uid, "group": self._gid, "extra_groups": groups}

    def _complain(self, message: str, *details: object) -> None:
        """Log an error, once."""
        if message not in self._complained:
            self._complained.add(message)
            log.error(message, *details)
