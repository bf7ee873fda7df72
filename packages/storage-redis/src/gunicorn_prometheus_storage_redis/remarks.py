"""Remarks of an instance in Redis: exemplars, and what Info and Enum say.

They are a hash beside the instance's other keys. A field is the kind, a space
and the key of a series; its value is JSON: labels, value and time of what was
said last by any process of the instance. They end with the instance: nothing of
them gets into the archive. Who doesn't know of them passes the hash by.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gunicorn_prometheus_core.storage import (
    REMARK_KINDS,
    Process,
    Remark,
    Snapshot,
    latest,
)

#: By field.
Remarks = Mapping[bytes, Remark]

_OF_ALL = Process("remarks", "other", "", alive=False)
_NO_VALUES = memoryview(b"").cast("d")


@dataclass(frozen=True)
class Change:
    """What to store of remarks; ``full`` in place of all that is there."""

    full: bool
    fields: Mapping[bytes, bytes]
    gone: list[bytes]
    #: What will be stored when this has been.
    stored: Remarks


@dataclass
class OutgoingRemarks:
    """What is known to be stored of this instance's remarks; None when that isn't known."""

    stored: Remarks | None = field(default=None)

    def change(self, snapshots: Iterable[Snapshot], *, full: bool) -> Change:
        """What there is to store, given all snapshots as they are now."""
        by_kind: dict[str, list[Mapping[bytes, Remark]]] = {}
        for one in snapshots:
            if one.kind in REMARK_KINDS:
                by_kind.setdefault(one.kind, []).append(one.remarks())
        now = {
            b"%b %b" % (kind.encode(), key): remark
            for kind, said in by_kind.items()
            for key, remark in latest(said).items()
        }
        before = {} if full or self.stored is None else self.stored
        fields = {
            name: packed(remark)
            for name, remark in now.items()
            if (known := before.get(name)) is not remark and known != remark
        }
        gone = list(before.keys() - now.keys())
        return Change(full or self.stored is None, fields, gone, now)


def packed(remark: Remark) -> bytes:
    """A remark as it is stored."""
    content = dict(remark.labels), remark.value, remark.time
    return json.dumps(content, separators=(",", ":")).encode()


def read(fields: Mapping[bytes, bytes]) -> Remarks:
    """The remarks stored in a hash; those that can't be read are left out."""
    found: dict[bytes, Remark] = {}
    for name, stored in fields.items():
        try:
            labels, value, when = json.loads(stored)
            remark = Remark({str(k): str(v) for k, v in labels.items()}, float(value), float(when))
        except (ValueError, TypeError, AttributeError):
            continue
        found[name] = remark
    return found


def snapshots(remarks: Remarks, instance: str) -> list[Snapshot]:
    """The remarks as snapshots, in the name of that instance."""
    by_kind: dict[str, dict[bytes, Remark]] = {}
    for name, remark in remarks.items():
        kind, _, key = name.partition(b" ")
        by_kind.setdefault(kind.decode("latin-1"), {})[key] = remark
    return [
        Snapshot(_OF_ALL, kind, (), (), _NO_VALUES, instance, remarks=said.copy)
        for kind, said in by_kind.items()
        if kind in REMARK_KINDS
    ]
