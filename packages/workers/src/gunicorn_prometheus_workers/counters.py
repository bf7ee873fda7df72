"""What is counted besides requests: failures above all, and defects of the recording itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.logs import log
from gunicorn_prometheus_core.recording import Cells, Recorder, sample_keys

from .labels import OTHER, UNKNOWN, Endpoints, Values, clean, method_label


def single(recorder: Recorder, kind: str, family: catalogue.Family, **labels: str) -> Cells:
    """The cell of one series."""
    return recorder.cells(kind, sample_keys(family, labels))


def known(recorder: Recorder, kind: str, family: catalogue.Family, label: str) -> Iterator[str]:
    """The values of a label that former owners of our slot have recorded."""
    marker = json.dumps([family.storage_name])[:-1].encode()
    for key in recorder.keys(kind):
        if key.startswith(marker):
            yield json.loads(key)[2][label]


class Counters:
    """Adds to counters and gauges. For any thread; nothing here raises."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = recorder.lock
        self._errors = single(recorder, "counter", catalogue.EXPORTER_RECORDING_ERRORS)
        self._complained = False

    def count(self, cells: Cells) -> None:
        """Add one to a cell."""
        with self._lock:
            cells.page.view[cells.at[0]] += 1.0

    def add(
        self, kind: str, family: catalogue.Family, labels: dict[str, str], amount: float
    ) -> None:
        """Add to one of the series of a family."""
        try:
            cells = self._recorder.cells(kind, sample_keys(family, labels))
            with self._lock:
                cells.page.view[cells.at[0]] += amount
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self.trouble(error)

    def trouble(self, error: Exception) -> None:
        """Count a defect of the recording, log the first, and let the request go on."""
        with contextlib.suppress(Exception):  # the defect may be that nothing can be counted
            self.count(self._errors)
        if not self._complained:
            self._complained = True
            log.error(
                "recording a request failed; further failures are only counted", exc_info=error
            )


class Failures:
    """Counts failures by method, endpoint and class of the exception."""

    def __init__(
        self, recorder: Recorder, counters: Counters, endpoints: Endpoints, limit: int
    ) -> None:
        self._counters = counters
        self._endpoints = endpoints
        families = catalogue.WORKER_FAILED, catalogue.WORKER_ERRORS
        self._types = Values(
            limit,
            (
                name
                for family in families
                for name in known(recorder, "counter", family, "error_type")
            ),
        )
        self._folded = single(recorder, "counter", catalogue.EXPORTER_FOLDED, label="error_type")

    def count(
        self,
        family: catalogue.Family,
        method: str | None,
        path: str | None,
        status: int,
        kind: type[BaseException],
        route: str | None,
    ) -> None:
        """Count one. Method and path are None of what could not be read so far."""
        try:
            error_type = self._types.admit(clean(kind.__name__))
            if error_type is OTHER:
                self._counters.count(self._folded)
            labels = {
                "method": method_label(method) if method else UNKNOWN,
                "endpoint": self._endpoints.label(path, status, route) if path else UNKNOWN,
                "error_type": error_type,
            }
        except Exception as error:  # noqa: BLE001  the border to the request; counted and logged
            self._counters.trouble(error)
        else:
            self._counters.add("counter", family, labels, 1.0)
