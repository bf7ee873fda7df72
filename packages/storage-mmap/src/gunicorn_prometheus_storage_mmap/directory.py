"""Making, emptying and removing the directory of the pages. The master's business."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import REMARK_KINDS, SUMMED_KINDS

from . import layout, remarks, slots
from .access import Access

_PRIVATE_PREFIX = "gunicorn-prometheus-"
#: In a directory of such a name it says that it was made for one server and may be removed.
_PRIVATE_MARK = "private"
_ABANDONED_SECONDS = 10.0
#: What the names of pages begin and end with; the directory may hold databases of others.
_KINDS = SUMMED_KINDS | REMARK_KINDS | {"gauge"}
_PAGES = tuple(
    suffix + state
    for suffix in (layout.SUFFIX, layout.OWN_SUFFIX, remarks.SUFFIX)
    for state in ("", ".new", ".corrupt")
)
_BESIDE = (".run", ".run.new", slots.SUFFIX)


def _is_ours(name: str) -> bool:
    is_page = name.endswith(_PAGES) and name.partition("_")[0] in _KINDS
    return is_page or name.endswith(_BESIDE)


def _is_private(path: str) -> bool:
    named = os.path.basename(path).startswith(_PRIVATE_PREFIX)
    return named and os.path.isfile(os.path.join(path, _PRIVATE_MARK))


def access_to(path: str, uid: int | None = None, gid: int | None = None) -> Access:
    """Who may use files in that directory: its group reads them if it may read the directory.

    Raises OSError, also for what is no directory.
    """
    return Access(0o600 | (os.stat(os.path.join(path, ".")).st_mode & 0o040), uid, gid)


class PageDirectory:
    """See :class:`gunicorn_prometheus_core.recording.Directory`."""

    def __init__(self, path: str, access: Access) -> None:
        self.path = path
        self._access = access
        self._private = _is_private(path)

    def retire(self, pid: int) -> tuple[str, Mapping[str, Any]] | None:
        """Number of the worker slot that this ended process owned, and what it left there."""
        # A pid comes again: who owned a slot last comes before those who owned one earlier.
        earlier: tuple[str, Mapping[str, Any]] | None = None
        with contextlib.suppress(OSError):
            for name in slots.names(self.path):
                if not name.startswith("worker-"):
                    continue
                path = os.path.join(self.path, name)
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    left = slots.facts(fd)
                    noted = slots.left_by(pid, left)
                    if noted is not None:
                        number = name.removeprefix("worker-").removesuffix(slots.SUFFIX)
                        if noted is left:
                            os.utime(fd)
                            return number, noted
                        earlier = earlier or (number, noted)
                finally:
                    os.close(fd)
        return earlier

    def wipe(self) -> None:
        """Begin with empty pages, unless a live process records here. Raises OSError."""
        with slots.locked(self.path, self._access):
            if slots.anybody(self.path):
                log.info("%s is in use by another server: its pages are kept", self.path)
                return
            for name in os.listdir(self.path):
                if _is_ours(name):
                    os.unlink(os.path.join(self.path, name))

    def discard(self) -> None:
        """Remove the directory if it was made for one server and nobody owns a slot in it."""
        if not self._private or not os.path.isdir(self.path):
            return
        try:
            with slots.locked(self.path, self._access):
                if not slots.anybody(self.path):
                    shutil.rmtree(self.path)
        except OSError as error:
            log.warning("can't remove %s: %s", self.path, error)


def prepare(
    settings: Settings, *, uid: int, gid: int, inherited: str | None = None
) -> PageDirectory:
    """The directory for a server whose workers run as ``uid:gid``, ready to be recorded into.

    ``inherited`` is the directory of the server this one takes over from (USR2).
    A configured directory that can't be used is logged and replaced by a
    private one. Raises OSError when not even a private one can be made.
    """
    if inherited is not None:
        return PageDirectory(inherited, access_to(inherited, uid, gid))
    if settings.multiproc_dir is not None:
        try:
            return _configured(settings, uid, gid)
        except OSError as error:
            log.error(
                "can't record into %s: %s; using a private directory, which a sidecar does not see",
                settings.said("multiproc_dir"),
                error,
            )
    return _private(uid, gid)


def _configured(settings: Settings, uid: int, gid: int) -> PageDirectory:
    assert settings.multiproc_dir is not None
    path = os.path.abspath(settings.multiproc_dir)
    os.makedirs(path, mode=0o750, exist_ok=True)
    if os.geteuid() == 0 and uid != 0 and not os.listdir(path):
        os.chown(path, uid, gid)
    directory = PageDirectory(path, access_to(path, uid, gid))
    if settings.cleanup_db_files:
        directory.wipe()
    else:
        with slots.locked(path, directory._access):
            pass  # proves that we may write here
    return directory


def _private(uid: int, gid: int) -> PageDirectory:
    base = _private_base()
    _remove_abandoned(base, {os.geteuid(), uid})
    path = tempfile.mkdtemp(prefix=_PRIVATE_PREFIX, dir=base)
    with open(os.path.join(path, _PRIVATE_MARK), "w"):
        pass
    if os.geteuid() == 0 and uid != 0:
        os.chown(path, uid, gid)
    return PageDirectory(path, Access(0o600, uid, gid))


def _private_base() -> str:
    """In memory if we can, because these pages are written all the time and outlive nothing."""
    memory = "/dev/shm"
    return memory if os.access(memory, os.W_OK | os.X_OK) else tempfile.gettempdir()


def _remove_abandoned(base: str, owners: set[int]) -> None:
    """Remove private directories of servers that were killed before they could."""
    for entry in os.scandir(base):
        if not entry.name.startswith(_PRIVATE_PREFIX):
            continue
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            mark = os.stat(os.path.join(entry.path, _PRIVATE_MARK))
            abandoned = time.time() - mark.st_mtime > _ABANDONED_SECONDS
            if entry.is_dir(follow_symlinks=False) and status.st_uid in owners and abandoned:
                PageDirectory(entry.path, Access()).discard()
