"""The user that the workers, and with them the exporter process, run as."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator


def groups(uid: int, gid: int) -> list[int]:
    """The groups of a user."""
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Have that user's rights meanwhile, where we are root. For a process with one thread."""
    if os.geteuid() != 0 or (uid, gid) == (0, 0):
        yield
        return
    own_groups, own_gid = os.getgroups(), os.getegid()
    os.setgroups(groups(uid, gid))
    try:
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_gid)
        os.setgroups(own_groups)
