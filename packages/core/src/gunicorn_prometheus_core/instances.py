"""Naming this host in a storage that hosts share, for backends that have no way of their own."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import uuid

from .settings import Settings

#: Kept among the pages and removed with them, so that a run is as old as their counts.
FILE = "instance.run"


def name(settings: Settings, directory: str) -> str:
    """The name of the instance whose pages are in this directory, such as ``web1-3f2a9c01``.

    It is the host's, or what is set for it, and the run of these pages: whoever asks for the same
    directory gets the same name, in whatever process, and no other directory has it. Raises
    OSError when neither can be had from the directory.
    """
    host = re.sub(r"[^\w.@-]", "_", settings.instance or socket.gethostname()) or "_"
    path = os.path.join(directory, FILE)
    if not os.path.exists(path):
        # Written elsewhere first: whoever finds the file finds it whole, and the first one wins.
        mode = 0o600 | (os.stat(directory).st_mode & 0o040)
        fd, temporary = tempfile.mkstemp(suffix=".run.new", dir=directory)
        try:
            with open(fd, "w", encoding="ascii") as file:
                os.fchmod(fd, mode)
                file.write(uuid.uuid4().hex[:8])
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            os.unlink(temporary)  # also on a full disk, where it is tried again and again
    with open(path, encoding="ascii") as file:
        return f"{host}-{file.read()}"
