"""One scrape: from a storage and collectors to the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol

from prometheus_client import Metric

from .derive import Derivation
from .families import Texts
from .logs import log
from .merge import Merge
from .remarks import Exemplars, le_last
from .storage import Process, Snapshot, Storage
from .text import Format, header


class Collector(Protocol):
    """Measures further families at scrape time, in the exporter process.

    Members of the entry-point group ``gunicorn_prometheus.collectors`` are
    called without arguments to get one. A collector that raises costs only
    its own families; the failure is logged once and counted.
    """

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """The families, about the processes that have recorded on this host."""


class Exposition:
    """Renders scrapes and keeps what one scrape learns for the next.

    Used by one thread at a time. ``collector_errors`` and ``rejected`` count
    from the beginning.
    """

    def __init__(self, storage: Storage, collectors: Mapping[str, Collector] | None = None) -> None:
        self._storage = storage
        self._collectors = dict(collectors or {})
        self._merges: dict[str, Merge] = {}
        self._exemplars: dict[str, Exemplars] = {}
        self._derivation = Derivation()
        self._texts = Texts()
        self.collector_errors: dict[str, int] = {}

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
            *self._collected(processes),
        ):
            if metric.name not in written and metric.samples:
                written.add(metric.name)
                yield _only(self._write(metric, form), starts)
        if form.escaping not in self._merges:
            self._merges[form.escaping] = Merge(prefixes)
            self._exemplars[form.escaping] = Exemplars(prefixes, self._texts.numbers)
        exemplars = self._exemplars[form.escaping].texts(snapshots) if form.openmetrics else {}
        for family in self._merges[form.escaping].families(snapshots):
            if family.name in written or (names and names.isdisjoint(family.sample_names)):
                continue
            behind = exemplars.get(family.name, {})
            yield _only(family.write(form, self._texts, behind), starts)

    def _collected(self, processes: Sequence[Process]) -> Iterator[Metric]:
        for name, collector in self._collectors.items():
            try:
                metrics = list(collector.collect(processes))
            except Exception:
                if name not in self.collector_errors:
                    log.exception("collector %s failed; its families are left out", name)
                self.collector_errors[name] = self.collector_errors.get(name, 0) + 1
            else:
                yield from metrics

    def _write(self, metric: Metric, form: Format) -> list[bytes]:
        prefixes, numbers = self._texts.prefixes(form.escaping), self._texts.numbers
        names = {sample.name for sample in metric.samples}
        pieces = [header(metric.name, metric.type, metric.documentation, names, form)]
        for sample in metric.samples:
            labels = prefixes.labels(sorted(sample.labels.items(), key=le_last))
            pieces += (prefixes.join(sample.name, labels), numbers[sample.value])
        pieces.append(b"\n")
        return pieces


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
