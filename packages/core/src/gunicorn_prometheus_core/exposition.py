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
from .native import NativeTable
from .protobuf import Encoder
from .remarks import Exemplars
from .storage import NATIVE, Process, Snapshot, Storage
from .text import Format
from .writing import MessageWriter, TextWriter, Writer


class Collector(Protocol):
    """Measures further families at scrape time, in the exporter process.

    Members of the entry-point group ``gunicorn_prometheus.collectors`` are
    called without arguments to get one. A collector that raises costs only
    its own families; the failure is logged once and counted.
    """

    def collect(self, processes: Sequence[Process]) -> Iterable[Metric]:
        """The families, about the processes that have recorded on this host."""


class _Scheme:
    """What was learned of series, for one escaping scheme."""

    def __init__(self, texts: Texts, escaping: str) -> None:
        self.prefixes = texts.prefixes(escaping)
        self.merge = Merge(self.prefixes)
        self.exemplars = Exemplars(self.prefixes, texts.numbers)
        self.native = NativeTable(NATIVE, self.prefixes)


class Exposition:
    """Renders scrapes and keeps what one scrape learns for the next.

    Used by one thread at a time. ``collector_errors`` and ``rejected`` count
    from the beginning.
    """

    def __init__(self, storage: Storage, collectors: Mapping[str, Collector] | None = None) -> None:
        self._storage = storage
        self._collectors = dict(collectors or {})
        self._schemes: dict[str, _Scheme] = {}
        self._encoder = Encoder()
        self._derivation = Derivation()
        self._texts = Texts()
        self.collector_errors: dict[str, int] = {}

    @property
    def rejected(self) -> int:
        """Stored keys that could not be understood so far."""
        return max((scheme.merge.rejected for scheme in self._schemes.values()), default=0)

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
        scheme = self._schemes.get(form.escaping)
        if scheme is None:
            scheme = self._schemes[form.escaping] = _Scheme(self._texts, form.escaping)
        writer = self._writer(scheme, snapshots, form, names)
        for metric in (
            *self._derivation.families(snapshots, processes),
            *self._collected(processes),
        ):
            if metric.name not in written and metric.samples:
                written.add(metric.name)
                yield writer.metric(metric)
        for family in scheme.merge.families(snapshots):
            if family.name in written or (names and names.isdisjoint(family.sample_names)):
                continue
            yield writer.family(family)

    def _writer(
        self, scheme: _Scheme, snapshots: Sequence[Snapshot], form: Format, names: frozenset[str]
    ) -> Writer:
        starts = tuple(chain.from_iterable(map(scheme.prefixes.starts, names)))
        takes_exemplars = form.openmetrics or form.protobuf
        exemplars = scheme.exemplars.by_family(snapshots) if takes_exemplars else {}
        if not form.protobuf:
            return TextWriter(form, self._texts, starts, scheme.exemplars, exemplars)
        buckets = scheme.native.buckets([one for one in snapshots if one.kind == NATIVE])
        return MessageWriter(form, self._encoder, scheme.prefixes, starts, exemplars, buckets)

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
