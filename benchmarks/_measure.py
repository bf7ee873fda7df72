"""What the benchmarks share: measuring in turns, medians, tables, scratch folders.

The speed of a machine drifts, so absolute times of two runs say little. Both sides are measured
in the same run, in turns, and compared pair by pair; the median of the pairs is what counts.
Times are CPU times, which other load on the machine disturbs least.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spread:
    """A median, and the range that it is in with 95 % confidence (from ranks, no distribution)."""

    median: float
    low: float
    high: float

    def show(self, digits: int = 1, unit: str = "", sign: str = "") -> str:
        median, low, high = (f"{x:{sign},.{digits}f}" for x in (self.median, self.low, self.high))
        return f"{median}{unit} [{low} .. {high}]"


def spread(values: Sequence[float]) -> Spread:
    """The median of measured values and how sure it is."""
    ranked = sorted(values)
    outside = max(0, math.floor((len(ranked) - 1.96 * math.sqrt(len(ranked))) / 2))
    return Spread(statistics.median(ranked), ranked[outside], ranked[-1 - outside])


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Measure every side once per round; gives the values of each side.

    Every second round goes backwards, so that no side always follows the same other one.
    """
    values: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            values[i].append(sides[i]())
    return values


def ratio(upper: Sequence[float], lower: Sequence[float]) -> Spread:
    """How many times as large the values of one side are, pair by pair."""
    return spread([a / b for a, b in zip(upper, lower, strict=True)])


def cpu_seconds(pid: int) -> float:
    """CPU time, in user and kernel mode, that a process has used with all its threads.

    The kernel's clock of the process: what /proc/PID/stat tells in ticks of 10 ms, to the ns.
    """
    return time.clock_gettime_ns(~pid << 3 | 2) / 1e9


def cpu_of(call: Callable[[], Any]) -> float:
    """CPU time in seconds that this process needs for one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    print(f"\n{title}\n")
    for row in (columns, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((first, *others)).rstrip())


def at_least(what: str, value: float, target: float) -> None:
    """Print whether a target is met."""
    _verdict(what, value, f"at least {target:g}x", value >= target)


def at_most(what: str, value: float, target: float) -> None:
    """Print whether a target is met."""
    _verdict(what, value, f"at most {target:g}x", value <= target)


def _verdict(what: str, value: float, wanted: str, met: bool) -> None:
    print(f"{what}: {value:,.2f}x; target: {wanted} - {'met' if met else 'MISSED'}", flush=True)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """The folder named on the command line, which is kept; without one, one that is removed."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1]).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            yield Path(name)


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder in memory where the system has that, so that no disk is measured; removed."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=base) as name:
        yield Path(name)


class OwnProcess:
    """A Python process for one side, so that no side works among the objects of the other."""

    def __init__(self, initializer: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, initializer, arguments)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of a module there and give its result."""
        return self._pool.submit(function, *arguments).result()

    def __enter__(self) -> OwnProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
