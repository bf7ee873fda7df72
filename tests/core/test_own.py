"""Our own cells, wherever and however often they are."""

import math
from dataclasses import replace

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.own import OwnCells
from gunicorn_prometheus_core.recording import key, sample_keys

LABELS = {"method": "GET", "endpoint": "/", "status": "200"}
BOUNDS = (*c.HTTP_DURATION.buckets, math.inf)
WIDTH = len(BOUNDS) + 1


def rows(folder, cells):
    """Labels and values of the rows of durations."""
    found = [
        (dict(labels), list(pick(snapshot.values)))
        for snapshot, own in cells.of(folder.collect())
        for labels, pick in own.rows(c.HTTP_DURATION, BOUNDS)
    ]
    return sorted(found, key=lambda row: row[1], reverse=True)


def test_a_row_is_the_sum_and_the_buckets_in_rising_order(folder):
    keys = sample_keys(c.HTTP_DURATION, LABELS)
    for number, cell in reversed(list(enumerate(keys))):
        folder.write_key("a", "histogram", cell.decode(), number)
    assert rows(folder, OwnCells()) == [(LABELS, list(range(WIDTH)))]


def test_what_is_not_there_yet_is_0_until_it_is(folder):
    first, *_, last = (cell.decode() for cell in sample_keys(c.HTTP_DURATION, LABELS))
    folder.write_key("a", "histogram", last, 3)
    cells = OwnCells()
    assert rows(folder, cells) == [(LABELS, [0] * (WIDTH - 1) + [3])]
    folder.write_key("a", "histogram", first, 0.5)
    assert rows(folder, cells) == [(LABELS, [0.5] + [0] * (WIDTH - 2) + [3])]


def test_cells_of_former_versions_are_rows_of_their_own(folder):
    name = c.HTTP_DURATION.name
    for text, value in ((c.HTTP_DURATION.help, 2), ("what it was called before", 1)):
        folder.write_key("a", "histogram", key(name, f"{name}_sum", LABELS, text).decode(), value)
    strange = {**LABELS, "le": "0.123"}
    folder.write_key("a", "histogram", key(name, f"{name}_bucket", strange, "x").decode(), 9)
    assert rows(folder, OwnCells()) == [(LABELS, [value] + [0] * (WIDTH - 1)) for value in (2, 1)]


def test_other_families_are_none_of_ours(folder):
    folder.write("a", "counter", "gunicorn_unheard_of", "gunicorn_unheard_of_total", {}, 1)
    folder.write("a", "counter", "jobs", "jobs_total", {}, 1)
    ((_, own),) = OwnCells().of(folder.collect())
    assert own.cells == {}


def test_the_bounds_are_those_that_were_recorded(folder):
    family = replace(c.HTTP_DURATION, buckets=(0.3, 2.0))
    for cell in sample_keys(family, LABELS):
        folder.write_key("a", "histogram", cell.decode(), 1)
    ((snapshot, own),) = OwnCells().of(folder.collect())
    assert own.bounds(c.HTTP_DURATION) == {0.3, 2.0, math.inf}
    ((_, pick),) = own.rows(c.HTTP_DURATION, (0.1, 0.3, 2.0, math.inf))
    assert list(pick(snapshot.values)) == [1, 0, 1, 1, 1]
