"""What one scrape costs: our exposition and MultiProcessCollector, on the same directory."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _measure import OwnProcess, at_least, in_turns, memory_folder, ratio, spread, table
from _scraping import Ours, Side, Stock, timed
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families

BOUNDS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "+Inf")
#: How many requests change the values between two scrapes, which are 15 s apart: 100 or 1,000 a
#: second. How much of the text can stay as it was depends on that.
REQUESTS = (1_500, 15_000)


@dataclass(frozen=True)
class Case:
    workers: int
    sets: int
    rounds: int
    first_rounds: int
    target: float | None = None
    first_target: float | None = None


CASES = (
    Case(4, 100, 21, 11),
    Case(8, 1_000, 15, 9, 50, 5),
    Case(8, 10_000, 5, 5, 80, 5),
)


class Written:
    """The pages of some workers, written by prometheus_client's MmapedDict: one histogram."""

    def __init__(self, folder: Path, workers: int, sets: int) -> None:
        self._random = random.Random(1)
        self._pages = [MmapedDict(str(folder / f"histogram_{1000 + i}.db")) for i in range(workers)]
        self._sums = [self._key(i) for i in range(sets)]
        self._buckets = [self._key(i, bound) for i in range(sets) for bound in BOUNDS]
        for page in self._pages:
            for key in self._buckets:
                page.write_value(key, self._random.randrange(500), 0)
            for key in self._sums:
                page.write_value(key, self._random.random() * 100, 0)

    @staticmethod
    def _key(number: int, bound: str | None = None) -> str:
        family = "app_request_seconds"
        names, labels = ["method", "endpoint"], ["GET", f"/api/v1/resource/{number}"]
        if bound is None:
            return mmap_key(family, f"{family}_sum", names, labels, "Time of requests")
        names, labels = [*names, "le"], [*labels, bound]
        return mmap_key(family, f"{family}_bucket", names, labels, "Time of requests")

    def serve(self, requests: int) -> None:
        """Let requests of all label sets happen in all workers."""
        choice, bounds = self._random, len(BOUNDS)
        for _ in range(requests):
            page = choice.choice(self._pages)
            number, bound = choice.randrange(len(self._sums)), choice.randrange(bounds)
            key = self._buckets[number * bounds + bound]
            page.write_value(key, page.read_value(key)[0] + 1, 0)
            key = self._sums[number]
            page.write_value(key, page.read_value(key)[0] + choice.random(), 0)

    def close(self) -> None:
        for page in self._pages:
            page.close()


def samples(text: bytes) -> dict[tuple[str, frozenset[Any]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def check_same(stock: OwnProcess, ours: OwnProcess) -> int:
    """Compare the samples of both sides; gives their number."""
    theirs, our = samples(stock.call(Stock.text)), samples(ours.call(Ours.text))
    if theirs.keys() != our.keys():
        raise SystemExit(f"different samples: {sorted(map(str, theirs.keys() ^ our.keys()))[:5]}")
    # The order of additions may differ, and with it the last digit.
    wrong = [key for key, value in theirs.items() if not math.isclose(value, our[key])]
    if wrong:
        raise SystemExit(f"{len(wrong)} samples differ, such as {wrong[0]}")
    return len(our)


def steady(
    written: Written, folder: str, requests: int, rounds: int
) -> tuple[list[float], list[float], int]:
    """CPU seconds of a scrape by either side, after so many requests; and the samples in one."""
    with OwnProcess(Stock.begin, folder) as stock, OwnProcess(Ours.begin, folder) as ours:

        def scrape(process: OwnProcess, side: Side) -> float:
            written.serve(requests)
            return float(process.call(timed, side))

        count = check_same(stock, ours)
        scrape(ours, Ours)  # The second of its life prepares for all that follow.
        theirs, our = in_turns(
            rounds,
            lambda: scrape(stock, Stock),
            lambda: median(scrape(ours, Ours) for _ in range(3)),
        )
        check_same(stock, ours)
    return theirs, our, count


def first(written: Written, folder: str, rounds: int) -> tuple[list[float], list[float]]:
    """CPU seconds of the first scrape of a new process, its imports aside."""

    def scrape(side: Side) -> float:
        written.serve(REQUESTS[0])
        with OwnProcess(side.begin, folder) as fresh:
            return float(fresh.call(timed, side))

    theirs, our = in_turns(rounds, lambda: scrape(Stock), lambda: scrape(Ours))
    return theirs, our


def row(title: str, count: int, theirs: list[float], our: list[float]) -> list[str]:
    times = [spread([x * 1e3 for x in seconds]).show() for seconds in (theirs, our)]
    return [title, f"{count:,}", *times, ratio(theirs, our).show(1, "x")]


def main() -> None:
    rows: list[list[str]] = []
    results: list[tuple[str, float, float | None]] = []
    for case in CASES:
        size = f"({case.workers}, {case.sets:,})"
        with memory_folder() as folder:
            written = Written(folder, case.workers, case.sets)
            try:
                for requests in REQUESTS:
                    *times, count = steady(written, str(folder), requests, case.rounds)
                    title = f"{size}, {requests:,} requests"
                    rows.append(row(title, count, *times))
                    results.append((title, ratio(*times).median, case.target))
                times = [*first(written, str(folder), case.first_rounds)]
            finally:
                written.close()
        title = f"{size}, first"
        rows.append(row(title, count, *times))
        results.append((title, ratio(*times).median, case.first_target))
    table(
        "CPU ms per scrape at (workers, label sets), so many requests after the scrape before,\n"
        "median [95 % range of the median]",
        ["", "samples", "stock", "ours", "faster by"],
        rows,
    )
    print()
    for what, factor, target in results:
        if target is not None:
            at_least(what, factor, target)


if __name__ == "__main__":
    main()
