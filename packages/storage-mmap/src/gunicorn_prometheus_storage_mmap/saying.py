"""The remarks that this process makes, of all kinds, in the files of its slot."""

from __future__ import annotations

import os

from gunicorn_prometheus_core.storage import Remark

from .access import Access
from .complaints import Complaints
from .remarks import SUFFIX, Remarks


class Saying:
    """Keeps remarks in memory until there are files. Every method wants the recorder's lock."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._kinds: dict[str, Remarks] = {}
        #: Directory and name of the slot, and who may use its files; None without a slot.
        self._slot: tuple[str, str, Access] | None = None

    def put(self, kind: str, key: bytes, remark: Remark) -> None:
        """Say something of a series, in place of what was said before."""
        ours = self._kinds.get(kind)
        if ours is None:
            ours = self._kinds[kind] = Remarks(kind)
            self._move(ours)
        try:
            ours.put(key, remark)
        except OSError as error:
            self._complain(ours, error)

    def get(self, kind: str, key: bytes) -> Remark | None:
        """What was said of a series last, by this process or its predecessor in the slot."""
        ours = self._kinds.get(kind)
        return None if ours is None else ours.get(key)

    def move_to(self, directory: str, process: str, access: Access) -> None:
        """Go on in the files of this slot."""
        self._slot = directory, process, access
        for ours in self._kinds.values():
            self._move(ours)

    def mend(self) -> None:
        """Replace files that somebody removed, and make those that could not be made."""
        for ours in self._kinds.values():
            if ours.lost:
                self._move(ours)

    def forget(self) -> None:
        """Begin anew, without a slot."""
        self._slot = None
        for ours in self._kinds.values():
            ours.forget()

    def _move(self, ours: Remarks) -> None:
        if self._slot is None:
            return
        directory, process, access = self._slot
        try:
            ours.move_to(os.path.join(directory, f"{ours.kind}_{process}{SUFFIX}"), access)
        except OSError as error:
            self._complain(ours, error)

    def _complain(self, ours: Remarks, error: OSError) -> None:
        self._complaints.once(
            f"{ours.kind} remarks",
            "can't write the file of %ss in %s: %s; they are not shown until that is mended",
            ours.kind, self._slot and self._slot[0], error,
        )  # fmt: skip
