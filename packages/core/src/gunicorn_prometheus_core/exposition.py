"""One scrape: from a storage and collectors to the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from .collecting import Collecting, Collector
from .derive import Derivation
from .families import Texts
from .merge import Merge
from .native import NativeTable
from .protobuf import Encoder
from .remarks import Exemplars
from .storage import NATIVE, Process, Snapshot, Storage
from .text import Format
from .writing import MessageWriter, TextWriter, Writer


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
        self._collecting = Collecting(collectors or {})
        self._schemes: dict[str, _Scheme] = {}
        self._encoder = Encoder()
        self._derivation = Derivation()
        self._texts = Texts()

    @property
    def collector_errors(self) -> dict[str, int]:
        """How often each collector was left out so far, by its name."""
        return self._collecting.errors

    @property
    def rejected(self) -> int:
        """Stored keys that could not be understood so far."""
        return max((scheme.merge.rejected for scheme in self._schemes.values()), default=0)

    def render(self, form: Format, names: Collection[str] = ()) -> bytes:
        """The text of a scrape; with ``names``, only samples that have one of them.

        Raises what the storage raises.
        """
        # Histograms before gauges and counters, whose values are read later then. A worker counts
        # a request in its histograms last: where it is seen there, all else of it is seen, too.
        snapshots = sorted(self._storage.collect(), key=lambda one: one.kind, reverse=True)
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
        # A request that a worker's number of requests tells of is among those by endpoint, which
        # are read after it, and is not in progress any more, which is read last.
        finish = self._derivation.begin(snapshots)
        merged = list(scheme.merge.families(snapshots))
        for metric in (
            *finish(processes),
            *self._collecting.collect(processes),
        ):
            if metric.name not in written and metric.samples:
                written.add(metric.name)
                yield writer.metric(metric)
        for family in merged:
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
