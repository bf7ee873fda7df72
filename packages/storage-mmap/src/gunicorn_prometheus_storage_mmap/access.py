"""Who may use the files of a page directory."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Access:
    """Permission bits of our files, and their owner when we are root.

    A server that runs as root makes files its unprivileged workers take over.
    """

    mode: int = 0o600
    uid: int | None = None
    gid: int | None = None

    def make_directory(self, path: str) -> None:
        """Make a directory for such files, if there is none. Raises OSError."""
        if not os.path.isdir(path):
            os.makedirs(path, 0o750 if self.mode & 0o040 else 0o700)
            if self.uid is not None and self.gid is not None and os.geteuid() == 0:
                os.chown(path, self.uid, self.gid)

    def apply(self, fd: int) -> None:
        """Make an open file of ours conform. Raises OSError."""
        os.fchmod(fd, self.mode)
        if self.uid is not None and self.gid is not None and os.geteuid() == 0:
            os.fchown(fd, self.uid, self.gid)
