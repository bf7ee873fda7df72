"""What prometheus_client's metrics do beside setting numbers: Info, Enum, removal, functions.

There is no ``ValueClass`` for these, so from activation on the methods
themselves tell us. Each does first what it did before: what a metric says in
its own process is unchanged.
"""

from __future__ import annotations

import functools
import gc
import json
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from prometheus_client.metrics import Enum, Gauge, Info, MetricWrapperBase

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Cells, sample_keys
from gunicorn_prometheus_core.storage import INFO, STATESET, Remark

from .recorder import Recorder

#: A function that takes longer than this keeps requests waiting.
_LONG_SECONDS = 0.1
_FAILURES = catalogue.EXPORTER_RECORDING_ERRORS
_REMOVERS = ("remove", "remove_by_labels", "clear")


def install(recorder: Recorder, cells_of: Callable[[Any], list[Cells]]) -> None:
    """Make all metrics tell ``recorder`` from now on, and take over what they say already."""
    functions = Functions()

    def told(metric: Any, *_: object) -> None:
        _tell(recorder, metric, time.time())

    def made(metric: Any, *_: object) -> None:
        _tell(recorder, metric, 0.0)

    def computed(gauge: Gauge, *_: object) -> None:
        functions.add(gauge)

    def removed(metric: Any, before: dict[Any, Any]) -> None:
        after = metric._metrics
        gone = [child for labels, child in before.items() if after.get(labels) is not child]
        functions.discard(gone)
        recorder.remove(cells for child in gone for cells in cells_of(child))
        for child in gone:
            _tell(recorder, child, time.time(), value=0.0)

    for kind in (Info, Enum):
        _follow(kind, "__init__", made)
    _follow(Info, "info", told)
    _follow(Enum, "state", told)
    _follow(Gauge, "set_function", computed)
    for name in _REMOVERS:
        if hasattr(MetricWrapperBase, name):
            _follow(MetricWrapperBase, name, removed, _children)
    # prometheus_client warns that its own multiprocess mode can't.
    for message in ("Removal of labels has not been", "Clearing labels has not been"):
        warnings.filterwarnings("ignore", message, UserWarning, "prometheus_client")
    for metric in [one for one in gc.get_objects() if isinstance(one, (Info, Enum, Gauge))]:
        if isinstance(metric, Gauge):
            if "_child_samples" in vars(metric):
                functions.add(metric)
        else:
            _tell(recorder, metric, time.time() if _is_set(metric) else 0.0)
    recorder.on_tick.append(functions(recorder))


def _follow(
    kind: type[Any],
    name: str,
    then: Callable[[Any, Any], None],
    before: Callable[[Any], Any] = lambda metric: None,
) -> None:
    """Let a method call ``then`` when it is done, with what ``before`` said of the metric."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen = before(self)
        result = original(self, *args, **kwargs)
        then(self, seen)
        return result

    setattr(kind, name, method)


def _children(metric: Any) -> dict[Any, Any]:
    return dict(getattr(metric, "_metrics", ()))


def _is_set(metric: Any) -> bool:
    """Whether somebody has said something of an Info or an Enum."""
    return bool(getattr(metric, "_value", None))


def _tell(recorder: Recorder, metric: Any, now: float, value: float = 1.0) -> None:
    """Record what an Info or an Enum says; nothing of other metrics, or of one without labels.

    What is said at time 0.0 holds as long as nobody has said anything.
    """
    if not isinstance(metric, (Info, Enum)) or not hasattr(metric, "_value"):
        return
    name, kind = metric._name, INFO if isinstance(metric, Info) else STATESET
    samples = list(metric._child_samples())
    if kind == INFO:
        # Older versions let anything be said.
        sample, said = f"{name}_info", {k: str(v) for k, v in samples[0].labels.items()}
    else:
        sample, said = name, {one.labels[name]: str(int(one.value)) for one in samples}
    labels = dict(zip(metric._labelnames, metric._labelvalues, strict=False))
    key = json.dumps([name, sample, labels, metric._documentation], sort_keys=True).encode()
    recorder.remark(kind, key, Remark(said, value, now))


class Functions:
    """The gauges whose value a function gives: called now and then, not when it is scraped.

    That is another process. A function is called where the process ticks, about once a second.
    """

    def __init__(self) -> None:
        self._gauges: weakref.WeakSet[Gauge] = weakref.WeakSet()
        self._complained: weakref.WeakSet[Gauge] = weakref.WeakSet()

    def add(self, gauge: Gauge) -> None:
        """Call its function from now on."""
        self._gauges = weakref.WeakSet((*self._gauges, gauge))

    def discard(self, gauges: list[Any]) -> None:
        """Don't call the functions of these any more."""
        if gauges:
            self._gauges = weakref.WeakSet(set(self._gauges).difference(gauges))

    def __call__(self, recorder: Recorder) -> Callable[[], None]:
        """What to call at each tick. Only workers have the application's values."""

        def call_all() -> None:
            if recorder.process.startswith("worker"):
                for gauge in list(self._gauges):
                    if not self._call(gauge):
                        failures = recorder.cells("counter", sample_keys(_FAILURES, {}))
                        with recorder.lock:
                            failures.page.view[failures.at[0]] += 1.0

        return call_all

    def _call(self, gauge: Any) -> bool:
        """Whether its function could be called."""
        started = time.perf_counter()
        try:
            (sample,) = gauge._child_samples()
            gauge.set(sample.value)
        except Exception:
            if gauge not in self._complained:
                self._complained.add(gauge)
                log.exception(
                    "the function of the gauge %s failed; it keeps its value", gauge._name
                )
            return False
        took = time.perf_counter() - started
        if took > _LONG_SECONDS and gauge not in self._complained:
            self._complained.add(gauge)
            log.warning(
                "the function of the gauge %s took %s s; it is called about once a second, "
                "and requests of its worker wait meanwhile",
                gauge._name, round(took, 1),
            )  # fmt: skip
        return True
