"""PrometheusMaster: Gunicorn's Arbiter, recording what only it sees."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter

from gunicorn_prometheus_core import catalogue, plugins
from gunicorn_prometheus_core.errors import MissingPart, SettingsError
from gunicorn_prometheus_core.recording import Directory, Recorder, count

from . import exits, handover, reconfiguring
from .exporter import Exporter
from .observations import Observations


class PrometheusMaster(Arbiter):
    """The Arbiter with metrics. Not instantiated: a running Arbiter becomes one.

    Everything here runs in the master's main thread. What Gunicorn may call
    from a signal handler only takes note; it is recorded by the main loop.
    """

    #: The one of this process.
    running: ClassVar[PrometheusMaster | None] = None

    worker_class: Any
    _instrument: Callable[[Any], Any] = staticmethod(lambda worker_class: worker_class)
    _directory: Directory | None = None
    _recorder: Recorder | None = None
    _observations: Observations | None = None
    _exporter: Exporter | None = None
    _intention: str | None = None
    _stopping = False
    _reexecuting = False

    @classmethod
    def promote(cls, arbiter: Any, instrument: Callable[[Any], Any] | None = None) -> None:
        """Turn an Arbiter that is about to start into a PrometheusMaster.

        A subclass of Arbiter stays one; ours comes before it. ``instrument``
        gives the class of workers to be used in place of another.
        """
        own = type(arbiter)
        if instrument is not None:
            arbiter._instrument = instrument
        arbiter.__class__ = cls if own is Arbiter else type(cls.__name__, (cls, own), {})

    def start(self) -> None:
        """Begin to record, then start as usual.

        Settings that can't be used end the start here, before anything is opened.
        """
        self._ordered: dict[int, str] = {}
        os.register_at_fork(after_in_child=self._leave_sockets_to_master)
        handed = handover.take()
        try:
            self._settings = reconfiguring.first(self.cfg.uid, self.cfg.gid)
            self.worker_class = self._instrument(self.worker_class)
        except (SettingsError, MissingPart) as error:
            self.log.error("%s", error)
            sys.exit(1)
        PrometheusMaster.running = self
        self._begin(handed)
        try:
            super().start()
        except BaseException:
            self._finish()
            raise
        self._tend()

    def _begin(self, handed: handover.Handed) -> None:
        try:
            pages = plugins.load(plugins.STORAGE, "mmap")()
            self._directory = pages.prepare(
                self._settings, uid=self.cfg.uid, gid=self.cfg.gid, inherited=handed.directory
            )
            assert self._directory is not None
            recorder = pages.activate(self._directory.path, uid=self.cfg.uid, gid=self.cfg.gid)
            recorder.bind("master")
            self._recorder, self._observations = recorder, Observations(recorder)
        except SettingsError as error:
            self.log.error("%s", error)
            sys.exit(1)
        except Exception:
            self.log.exception("no metrics: recording could not begin; the server goes on without")
            return
        if not self._settings.sidecar_mode or self._settings.storage != "mmap":
            errorlog = self.cfg.errorlog
            self._exporter = Exporter(
                self._settings,
                self._directory.path,
                uid=self.cfg.uid,
                gid=self.cfg.gid,
                log_path=errorlog if errorlog and errorlog != "-" else None,
                inherited=handed.fds,
                on_restart=lambda: count(recorder, catalogue.EXPORTER_RESTARTS),
                on_bind_failure=lambda: count(recorder, catalogue.EXPORTER_BIND_FAILURES),
            )

    def _tend(self) -> None:
        """Whatever is due now; Gunicorn's main loop comes here about once a second."""
        if self._observations is None:
            return
        self._observations.record(self)
        if self._exporter is not None and not self._stopping:
            try:
                self._exporter.tend()
            except Exception as error:  # noqa: BLE001  the border to the master; counted and logged
                self._observations.trouble(error)

    # Gunicorn's main loop and its signals

    def manage_workers(self) -> None:
        """Part of each turn of the main loop, and of everything that changes the workers."""
        with self._intending("scale_down"):
            super().manage_workers()
        self._tend()

    def murder_workers(self) -> None:
        """Kills workers that have been silent for too long."""
        with self._intending("timeout"):
            super().murder_workers()

    def reload(self) -> None:
        """HUP."""
        with self._intending("reload"):
            super().reload()

    def setup(self, app: Any) -> None:
        """Part of a reload, between reading Gunicorn's configuration and making new workers."""
        super().setup(app)
        try:
            self.worker_class = self._instrument(self.worker_class)
        except MissingPart as error:
            self.log.error("new workers record nothing: %s", error)
        settings = reconfiguring.again(self._settings, self.cfg.uid, self.cfg.gid)
        if settings is None:
            if self._recorder is not None:
                count(self._recorder, catalogue.EXPORTER_SETTINGS_ERRORS)
        elif settings != self._settings:
            self._settings = settings
            if self._exporter is not None:
                self._exporter.reconfigure(settings)

    @property
    def metrics_are_served(self) -> bool:
        """Whether there is a metrics endpoint; makes it, if that is still to be done."""
        if self._exporter is not None and not self._stopping:
            self._exporter.tend()
        return self._exporter is not None and bool(self._exporter.listeners)

    def stop(self, graceful: bool = True) -> None:
        """Ends the workers, then the exporter, then what we keep on the disk."""
        with self._intending("shutdown"):
            super().stop(graceful)
        self._await_killed()
        self._finish()

    def _finish(self) -> None:
        """Record what is left to record and leave nothing behind. Repeating it does nothing."""
        self._stopping = True
        self._tend()
        if self._exporter is not None:
            # Of two masters in an upgrade, the other one has the sockets as well.
            older_lives = self.master_pid != 0 and self.master_pid == os.getppid()
            self._exporter.stop(handed_on=self.reexec_pid != 0 or older_lives)
            self._exporter = None
        if self._recorder is not None and self._directory is not None:
            self._recorder.close()
            self._recorder = self._observations = None
            self._directory.discard()

    def _note_signal(self, reason: str) -> None:
        if self._observations is not None:
            self._observations.signals.append(reason)

    def signal(self, sig: int, frame: Any) -> None:
        """Gunicorn's handler of signals, which only notes them for the main loop.

        A worker has it, too, from its fork until it has handlers of its own. Noted there, the
        signal would be lost, and a stop take the whole graceful timeout: so that worker, which has
        not begun yet, ends.
        """
        if os.getpid() != self.pid and sig in exits.ENDING_SIGNALS:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        super().signal(sig, frame)

    def handle_hup(self) -> None:
        self._note_signal("hup")
        super().handle_hup()

    def handle_usr1(self) -> None:
        self._note_signal("usr1")
        super().handle_usr1()
        if self._exporter is not None:
            self._exporter.reopen_log()

    def handle_usr2(self) -> None:
        self._note_signal("usr2")
        super().handle_usr2()

    def handle_ttin(self) -> None:
        self._note_signal("ttin")
        super().handle_ttin()

    def handle_ttou(self) -> None:
        self._note_signal("ttou")
        super().handle_ttou()

    def handle_int(self) -> None:
        self._note_signal("int")
        super().handle_int()

    def handle_winch(self) -> None:
        with self._intending("scale_down"):
            super().handle_winch()

    def handle_chld(self, *args: Any) -> None:
        """A child has ended. Before Gunicorn 24 this is the signal handler itself."""
        self._note_signal("chld")
        super().handle_chld(*args)

    # SIGCLD is another name of SIGCHLD, and which one Gunicorn finds depends on the platform.
    handle_cld = handle_chld

    # Workers

    def spawn_worker(self) -> Any:
        """Forks a worker, which takes a worker's slot whenever it first records."""
        if self._recorder is not None:
            self._recorder.fork_role = "worker"
        try:
            return super().spawn_worker()
        finally:
            if self._recorder is not None and os.getpid() == self.pid:
                self._recorder.fork_role = "process"

    def _leave_sockets_to_master(self) -> None:
        """In a forked child: the metrics port is not for workers to hold open."""
        if self._exporter is not None and not self._reexecuting:
            for listener in self._exporter.listeners:
                listener.close()

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signals a worker; why it was told to end is remembered until it has ended."""
        if sig in exits.ENDING_SIGNALS and self._intention is not None:
            self._ordered.setdefault(pid, self._intention)
        super().kill_worker(pid, sig)

    def reap_workers(self) -> None:
        """Looks at how workers have ended before Gunicorn reaps them. May run in a handler."""
        if self._exporter is not None:
            self._exporter.reap()
        before = set(self.WORKERS)
        seen = {pid: ended for pid in before if (ended := exits.peek(pid)) is not None}
        try:
            super().reap_workers()
        finally:
            for pid in before - set(self.WORKERS):
                # One that ended while Gunicorn was at it is gone without our having seen how.
                self._note_end(pid, seen.get(pid))

    def _note_end(self, pid: int, ended: os.waitid_result | None) -> None:
        """Take note of a worker's end, before a successor takes its slot."""
        if self._directory is not None:
            number, noted = self._directory.retire(pid) or ("unknown", {})
            cause = exits.cause(ended, self._ordered.pop(pid, None), noted)
            if self._observations is not None:
                self._observations.exits.append((number, cause))

    def _await_killed(self) -> None:
        """Note workers killed at the graceful timeout, which Gunicorn doesn't wait for."""
        for pid in list(self.WORKERS):
            ended = exits.wait(pid)
            if ended is not None:
                self._note_end(pid, ended)

    @contextlib.contextmanager
    def _intending(self, intention: str) -> Iterator[None]:
        """What workers signalled meanwhile are told to end for; the outermost intention counts."""
        outer = self._intention
        self._intention = outer or intention
        try:
            yield
        finally:
            self._intention = outer

    # USR2

    def reexec(self) -> None:
        """Hands the page directory and the metrics sockets to the new master."""
        directory = self._directory.path if self._directory is not None else None
        listeners = self._exporter.listeners if self._exporter is not None else ()
        self._reexecuting = True
        try:
            # Gunicorn starts the new master with the environment that it began with itself.
            with handover.handing(self.cfg.env_orig, directory, listeners):
                super().reexec()
        finally:
            self._reexecuting = False
