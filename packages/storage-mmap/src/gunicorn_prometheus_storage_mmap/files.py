"""Files that this process stores into: how they grow, and how one takes another's place."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

from . import truncation
from .access import Access

FIRST_BYTES = 4096
_LARGEST_STEP = 1 << 20

#: What tells a file from another one that is later at its path: device and inode.
FileId = tuple[int, int]


def grown(size: int, needed: int) -> int:
    """The next size of a file of ``size`` bytes that is to hold ``needed`` bytes."""
    while size < needed:
        size += min(size, _LARGEST_STEP)
    return size


def allocate(fd: int, size: int) -> mmap.mmap:
    """Let the file have that size, and map it for storing into it. Raises OSError.

    It gets real blocks, so that a full disk is an error here and not a SIGBUS at a store; and
    what is mapped survives a truncation of the file.
    """
    os.posix_fallocate(fd, 0, size)
    mapped = mmap.mmap(fd, size)
    truncation.guard(mapped)
    return mapped


@contextlib.contextmanager
def replacing(path: str, size: int, access: Access) -> Iterator[tuple[int, mmap.mmap]]:
    """A new file, open and mapped, that is at ``path`` once the block has ended.

    After an exception, OSError above all, what was there before still is.
    """
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        access.apply(fd)
        yield fd, allocate(fd, size)
        os.rename(temporary, path)
    except BaseException:
        os.close(fd)
        # On a full disk its blocks are missed by others.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def identity(fd: int) -> FileId:
    """Which file is open."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def is_at(path: str, file_id: FileId | None) -> bool:
    """Whether that file is the one at this path."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == file_id
