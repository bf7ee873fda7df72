"""``python -m gunicorn_prometheus_core.testing.publisher``: a host that is a process of its own.

Reads what it is told from standard input as JSON. It counts ``x`` of one process and ``y`` of
another to the same number, publishes, and says that number in a line, until it is killed or has
counted as far as it was told to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from typing import Any

from ..errors import StorageUnavailable
from ..settings import Settings
from .hosts import Host
from .place import Place


class Publishing:
    """A host that is a process of its own, as the test that has started it sees it."""

    def __init__(self, host: Host, until: int) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "gunicorn_prometheus_core.testing.publisher"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        backend = host.place.backend
        told = {
            "module": backend.__module__,
            "class": backend.__qualname__,
            "settings": host.settings.dumps(),
            "directory": host.directory,
            "until": until,
        }
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pipe.write(json.dumps(told))
        #: The last number that it has said to have published.
        self.last: int = 0

    def wait_for(self, more: int) -> None:
        """Wait until it has published so many more times."""
        assert self.process.stdout is not None
        for _ in range(more):
            line = self.process.stdout.readline()
            if not line.strip().isdigit():
                raise AssertionError(f"a host ended: {line}{self._errors()}")
            self.last = int(line)

    def expect_end(self) -> None:
        """Wait until it has done everything."""
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        errors = self._errors()
        assert said.endswith("ended\n"), f"a host ended: {errors}"

    def _errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            if not pipe.closed:
                for line in pipe:
                    if pipe is self.process.stdout and line.strip().isdigit():
                        self.last = int(line)
                pipe.close()
        self.process.wait()

    def __enter__(self) -> Publishing:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def environment() -> dict[str, str]:
    """That of a process that finds the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def main() -> None:
    """See the module's docstring."""
    told: dict[str, Any] = json.loads(sys.stdin.read())

    class Here(Place):
        backend = getattr(import_module(told["module"]), told["class"])
        name = "mmap"  # the settings are told, not read

    host = Host(Here(), told["directory"])
    host.settings = Settings.loads(told["settings"])
    for number in range(1, told["until"] + 1):
        host.count("x", process="worker-0")
        host.count("y", process="worker-1")
        while True:
            try:
                host.publish()
                break
            except StorageUnavailable:  # a busy place: that is allowed, and tried again
                continue
        print(number, flush=True)
    host.close()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
