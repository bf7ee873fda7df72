"""One scrape: from a storage and collectors to the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from prometheus_client import Metric

from .collecting import Collecting, Collector
from .derive import Derivation
from .families import Texts
from .merge import Merge
from .storage import Process, Snapshot, Storage
from .text import Format, header


class Exposition:
    """Renders scrapes and keeps what one scrape learns for the next.

    Used by one thread at a time. ``collector_errors`` and ``rejected`` count
    from the beginning.
    """

    def __init__(self, storage: Storage, collectors: Mapping[str, Collector] | None = None) -> None:
        self._storage = storage
        self._collecting = Collecting(collectors or {})
        self._merges: dict[str, Merge] = {}
        self._derivation = Derivation()
        self._texts = Texts()

    @property
    def collector_errors(self) -> dict[str, int]:
        """How often each collector was left out so far, by its name."""
        return self._collecting.errors

    @property
    def rejected(self) -> int:
        """Stored keys that could not be understood so far."""
        return max((merge.rejected for merge in self._merges.values()), default=0)

    def render(self, form: Format, names: Collection[str] = ()) -> bytes:
        """The text of a scrape; with ``names``, only samples that have one of them.

        Raises what the storage raises.
        """
        snapshots = self._storage.collect()
        processes = self._storage.processes()
        pieces: list[bytes] = []
        for family in self._families(snapshots, processes, form, frozenset(names)):
            pieces += family
        if form.openmetrics:
            pieces.append(b"# EOF\n")
        return b"".join(pieces)

    def _families(
        self,
        snapshots: Sequence[Snapshot],
        processes: Sequence[Process],
        form: Format,
        names: frozenset[str],
    ) -> Iterator[list[bytes]]:
        """The pieces of each family's text."""
        written: set[str] = set()
        prefixes = self._texts.prefixes(form.escaping)
        starts = tuple(chain.from_iterable(map(prefixes.starts, names)))
        for metric in (
            *self._derivation.families(snapshots, processes),
            *self._collecting.collect(processes),
        ):
            if metric.name not in written and metric.samples:
                written.add(metric.name)
                yield _only(self._write(metric, form), starts)
        if form.escaping not in self._merges:
            self._merges[form.escaping] = Merge(prefixes)
        for family in self._merges[form.escaping].families(snapshots):
            if family.name in written or (names and names.isdisjoint(family.sample_names)):
                continue
            yield _only(family.write(form, self._texts), starts)

    def _write(self, metric: Metric, form: Format) -> list[bytes]:
        prefixes, numbers = self._texts.prefixes(form.escaping), self._texts.numbers
        names = {sample.name for sample in metric.samples}
        pieces = [header(metric.name, metric.type, metric.documentation, names, form)]
        for sample in metric.samples:
            labels = prefixes.labels(sorted(sample.labels.items(), key=_le_last))
            pieces += (prefixes.join(sample.name, labels), numbers[sample.value])
        pieces.append(b"\n")
        return pieces


def _le_last(label: tuple[str, str]) -> tuple[bool, str]:
    return label[0] == "le", label[0]


def _only(pieces: list[bytes], starts: tuple[bytes, ...]) -> list[bytes]:
    """A family's text reduced to samples that start so, empty if none is left; all if no starts."""
    if not starts:
        return pieces
    head: list[bytes] = []
    kept: list[bytes] = []
    for line in b"".join(pieces).split(b"\n")[:-1]:
        if line.startswith(b"# "):
            head += (line, b"\n")
        elif line.startswith(starts):
            kept += (line, b"\n")
    return head + kept if kept else []
