"""Looking over what a storage backend gives, before anything is made of it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from .storage import REMARK_KINDS, Process, Remark, Snapshot


class Nonsense(Exception):
    """A backend has given what the protocol doesn't allow. The message says what."""


class Checking:
    """Looks at what ``collect`` gives, at keys and positions only once. Used by one thread."""

    def __init__(self) -> None:
        #: Of each keys and positions that were looked at: the objects, and how many are right.
        self._known: dict[tuple[int, int], tuple[object, object, int]] = {}

    def snapshots(self, collected: object) -> list[Snapshot]:
        """The snapshots, if they are such. Raises :class:`Nonsense`."""
        if not isinstance(collected, Iterable):
            raise Nonsense(f"collect() gave {type(collected).__name__} instead of snapshots")
        found = [_snapshot(one) for one in collected]
        known: dict[tuple[int, int], tuple[object, object, int]] = {}
        for one in found:
            names = id(one.keys), id(one.at)
            *_, checked = self._known.get(names, (None, None, 0))
            known[names] = one.keys, one.at, _check(one, checked)
        self._known = known
        return found


def _snapshot(one: object) -> Snapshot:
    """What is a snapshot as far as its types say."""
    if not isinstance(one, Snapshot):
        raise Nonsense(f"collect() gave {type(one).__name__} among the snapshots")
    texts: tuple[object, ...] = one.kind, one.instance, getattr(one.process, "name", None)
    if not all(isinstance(text, str) for text in texts):
        raise Nonsense(f"{_called(one)} has a process, a kind or an instance without a name")
    if not _is_process(one.process):
        raise Nonsense(f"{_called(one)} has a process whose facts are of other types")
    values: object = one.values
    if not isinstance(values, memoryview) or values.format != "d" or not values.contiguous:
        raise Nonsense(f"{_called(one)} has values that are no contiguous doubles")
    parts: tuple[object, ...] = one.keys, one.at
    if not all(isinstance(part, Sequence) for part in parts) or len(one.keys) != len(one.at):
        raise Nonsense(f"{_called(one)} does not have a position for each key")
    return replace(one, remarks=_remarks(one).copy) if one.kind in REMARK_KINDS else one


def _is_process(one: object) -> bool:
    if not isinstance(one, Process):
        return False
    texts: tuple[object, ...] = one.role, one.number
    times: tuple[object, ...] = one.started, one.ended
    return (
        all(isinstance(text, str) for text in texts)
        and one.alive in (None, True, False)
        and all(when is None or _is_time(when) for when in times)
    )


def _is_time(when: object) -> bool:
    return isinstance(when, (int, float)) and math.isfinite(when)


def _is_remark(one: object) -> bool:
    if not isinstance(one, Remark):
        return False
    labels: object = one.labels
    value: object = one.value
    return (
        isinstance(labels, Mapping)
        and all(isinstance(text, str) for label in labels.items() for text in label)
        and isinstance(value, (int, float))
        and _is_time(one.time)
    )


def _remarks(one: Snapshot) -> dict[bytes, Remark]:
    """What a snapshot says of series; asked now, as a scrape must not find out that it can't."""
    said: object = one.remarks()
    if not isinstance(said, Mapping):
        raise Nonsense(f"{_called(one)} has remarks that are no mapping")
    found = dict(said)
    if not all(isinstance(key, bytes) and _is_remark(it) for key, it in found.items()):
        raise Nonsense(f"{_called(one)} has remarks that are none")
    return found


def _check(one: Snapshot, checked: int) -> int:
    """Raise Nonsense unless what is behind those that were checked is right, too."""
    size = len(one.keys)
    if not set(map(type, islice(one.keys, checked, None))) <= {bytes}:
        raise Nonsense(f"{_called(one)} has keys that are no bytes")
    new = one.at[max(0, checked - 1) :]
    if not set(map(type, new)) <= {int}:
        raise Nonsense(f"{_called(one)} has positions that are no whole numbers")
    if not all(map(operator.lt, new, new[1:])) or (size and one.at[0] < 0):
        raise Nonsense(f"{_called(one)} has positions that do not rise")
    width = 2 if one.kind.startswith("gauge") or one.removed is not None else 1
    if size and one.at[-1] + width > len(one.values):
        raise Nonsense(f"{_called(one)} has positions that lie behind its values")
    return size


def _called(one: Snapshot) -> str:
    name = getattr(one.process, "name", one.process)
    return f"the snapshot {one.kind!r} of {name!r} of {one.instance!r}"
