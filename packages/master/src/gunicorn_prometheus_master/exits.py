"""Why a worker ended: what the master ordered, or else what the process left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from gunicorn.arbiter import Arbiter

#: Signals by which the master ends a worker; others leave it running.
ENDING_SIGNALS = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL})

_BOOT_CAUSES = {
    Arbiter.WORKER_BOOT_ERROR: "boot_error",
    Arbiter.APP_LOAD_ERROR: "load_error",
}


def peek(pid: int) -> os.waitid_result | None:
    """How a child has ended, leaving it to be reaped by whoever waits for it; None if it hasn't.

    ``child_exit`` is no substitute: Gunicorn does not call it for every exit.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None


def wait(pid: int, seconds: float = 1.0) -> os.waitid_result | None:
    """How a child that has been killed ended; None if that takes longer, or it is gone already."""
    deadline = time.monotonic() + seconds
    while (ended := peek(pid)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return ended


def cause(ended: os.waitid_result | None, ordered: str | None, noted: Mapping[str, Any]) -> str:
    """The cause of an exit, as the label ``cause`` says it.

    ``ended`` None means that the status was lost; ``ordered`` is what the
    master wanted when it signalled the worker; ``noted`` is what the worker
    left in its slot.
    """
    if ordered is not None:
        return ordered
    if ended is None:
        return str(noted.get("exit", "unknown"))
    if ended.si_code == os.CLD_EXITED:
        if ended.si_status in _BOOT_CAUSES:
            return _BOOT_CAUSES[ended.si_status]
        return str(noted.get("exit", "exit")) if ended.si_status == 0 else "crash"
    return "killed" if ended.si_status == signal.SIGKILL else "crash"
