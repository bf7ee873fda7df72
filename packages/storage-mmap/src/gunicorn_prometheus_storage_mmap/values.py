"""prometheus_client's metrics on our cells.

prometheus_client keeps each number of a metric in an instance of
``prometheus_client.values.ValueClass``. From activation on that is a class of
ours, and metrics that exist already are given instances of it.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import REGISTRY, values
from prometheus_client.metrics import Counter, Gauge, Histogram, MetricWrapperBase, Summary
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from gunicorn_prometheus_core.recording import Cells
from gunicorn_prometheus_core.storage import EXEMPLAR, Remark

from . import unnumbered
from .recorder import Recorder


def value_class(recorder: Recorder) -> type[Any]:
    """A ValueClass whose instances record through ``recorder``."""
    lock = recorder.lock

    class CellValue:
        """One number of a metric; safe to use from any thread, greenlet or forked child."""

        _multiprocess = True
        __slots__ = ("_at", "_key", "_page")

        def __init__(
            self,
            typ: str,
            metric_name: str,
            name: str,
            labelnames: Sequence[str],
            labelvalues: Sequence[str],
            help_text: str,
            multiprocess_mode: str = "",
            **_: Any,
        ) -> None:
            kind = f"gauge_{multiprocess_mode}" if typ == "gauge" else typ
            labels = dict(zip(labelnames, labelvalues, strict=False))
            key = json.dumps([metric_name, name, labels, help_text], sort_keys=True).encode()
            cells = recorder.cells(kind, [key])
            self._key = key
            self._page: Any = cells.page
            self._at = cells.at[0]

        def inc(self, amount: float) -> None:
            with lock:
                self._page.view[self._at] += amount

        def set(self, value: float, timestamp: float | None = None) -> None:
            with lock:
                view = self._page.view
                view[self._at] = value
                # A forked child's view has just become another one.
                self._page.view[self._at + 1] = timestamp or 0.0

        def get(self) -> float:
            with lock:
                value: float = self._page.view[self._at]
                return value

        def set_exemplar(self, exemplar: Exemplar) -> None:
            """Keep it in place of the one before."""
            remark = Remark(exemplar.labels, exemplar.value, float(exemplar.timestamp or 0.0))
            recorder.remark(EXEMPLAR, self._key, remark)

        def get_exemplar(self) -> Exemplar | None:
            remark = recorder.remarked(EXEMPLAR, self._key)
            if remark is None:
                return None
            return Exemplar(dict(remark.labels), remark.value, remark.time)

        @property
        def cells(self) -> Cells:
            """Where the number is."""
            return Cells(self._page, (self._at,))

    return CellValue


def adopt(make: type[Any]) -> None:
    """Give every existing metric cells, continuing the values it holds.

    Finds metrics by asking the garbage collector, because a metric may be in
    any registry or in none.
    """
    metrics = {id(m): m for m in gc.get_objects() if isinstance(m, MetricWrapperBase)}
    metrics.update((id(m), m) for m in list(getattr(REGISTRY, "_collector_to_names", ())))
    for metric in metrics.values():
        if isinstance(metric, MetricWrapperBase):
            with contextlib.suppress(AttributeError):  # made, but not yet initialised
                _adopt_metric(metric, make)


def _adopt_metric(metric: Any, make: type[Any]) -> None:
    if metric._labelnames and not metric._labelvalues:
        return  # a parent; its children are metrics of their own
    mode = getattr(metric, "_multiprocess_mode", "")
    for holder, name, sample, extra in _places(metric):
        old = holder[name]
        if isinstance(old, make):
            continue
        names = (*metric._labelnames, *(label for label, _ in extra))
        labels = (*metric._labelvalues, *(value for _, value in extra))
        args = (metric._type, metric._name, sample, names, labels, metric._documentation)
        new = make(*args, multiprocess_mode=mode)
        if metric._type == "gauge":
            new.set(old.get(), getattr(old, "_timestamp", None))
        else:
            new.inc(old.get())
            exemplar = old.get_exemplar()
            if exemplar is not None:
                new.set_exemplar(exemplar)
        holder[name] = new


def _places(metric: Any) -> Iterator[tuple[Any, Any, str, tuple[tuple[str, str], ...]]]:
    """Where a metric holds its numbers: container, name in it, sample name, further labels."""
    own, name = vars(metric), metric._name
    if isinstance(metric, Counter):
        yield own, "_value", f"{name}_total", ()
    elif isinstance(metric, Gauge):
        yield own, "_value", name, ()
    elif isinstance(metric, Summary):
        yield own, "_count", f"{name}_count", ()
        yield own, "_sum", f"{name}_sum", ()
    elif isinstance(metric, Histogram):
        yield own, "_sum", f"{name}_sum", ()
        for i, bound in enumerate(metric._upper_bounds):
            yield metric._buckets, i, f"{name}_bucket", (("le", floatToGoString(bound)),)


def cells_of(metric: MetricWrapperBase) -> list[Cells]:
    """Where the numbers of a metric are; none for one that holds no numbers itself."""
    values = [holder[name] for holder, name, *_ in _places(metric)]
    return [value.cells for value in values if hasattr(value, "cells")]


def remove_own_stock_files() -> None:
    """Remove what prometheus_client's multiprocess mode wrote for this process until now.

    Its values have been adopted; left in the directory they would count twice.
    """
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or os.environ.get(
        "prometheus_multiproc_dir"  # noqa: SIM112  the name it had in older versions
    )
    if directory:
        for path in glob.glob(os.path.join(glob.escape(directory), f"*_{os.getpid()}.db")):
            with contextlib.suppress(OSError):
                os.unlink(path)


def install(recorder: Recorder) -> None:
    """Make prometheus_client record through ``recorder``, whenever its metrics were made."""
    make = value_class(recorder)
    values.ValueClass = make
    adopt(make)
    unnumbered.install(recorder, cells_of)
    remove_own_stock_files()
