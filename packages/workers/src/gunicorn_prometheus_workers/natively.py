"""The duration of requests as a native histogram, beside the one with fixed buckets."""

from __future__ import annotations

from collections.abc import Mapping

from gunicorn_prometheus_core import catalogue
from gunicorn_prometheus_core.native import bucket_key, index
from gunicorn_prometheus_core.recording import Page, Recorder
from gunicorn_prometheus_core.storage import NATIVE


class NativeDurations:
    """Records them. A bucket gets its cell when it is first needed. For any thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._acquire, self._release = recorder.lock.acquire, recorder.lock.release
        #: By place of a series' sum: its labels, and the cells of its buckets by index.
        self._series: dict[int, tuple[Mapping[str, str], dict[int, tuple[Page, int]]]] = {}

    def place(self, at: int, labels: Mapping[str, str]) -> None:
        """Learn of the series whose sum is at this place."""
        self._series[at] = labels, {}

    def observe(self, at: int, seconds: float) -> None:
        """Count a request of the series whose sum is at this place."""
        labels, cells = self._series[at]
        bucket = index(seconds)
        cell = cells.get(bucket)
        if cell is None:
            family = catalogue.HTTP_DURATION
            key = bucket_key(family.name, labels, family.help, bucket)
            found = self._recorder.cells(NATIVE, [key])
            cell = cells[bucket] = found.page, found.at[0]
        page, place = cell
        self._acquire()
        try:
            page.view[place] += 1.0
        finally:
            self._release()
