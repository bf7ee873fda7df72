"""Collectors that work, raise, hang, or give something else than metrics."""

from __future__ import annotations

import threading

import pytest
from prometheus_client import Metric

from gunicorn_prometheus_core.collecting import Collecting


def metric(name="theirs", value=1.0, **labels):
    made = Metric(name, "help", "gauge")
    made.add_sample(name, labels, value)
    return made


class Given:
    """A collector that gives what it is told to."""

    def __init__(self, *metrics, error=None):
        self.metrics, self.error = metrics, error

    def collect(self, processes):
        yield from self.metrics
        if self.error is not None:
            raise self.error


class Hanging:
    """A collector that hangs until it may go on."""

    def __init__(self):
        self.may_go_on = threading.Event()
        self.threads = []

    def collect(self, processes):
        self.threads.append(threading.current_thread())
        assert self.may_go_on.wait(30)
        return [metric("late")]


def names(collecting):
    return [found.name for found in collecting.collect([])]


@pytest.mark.parametrize(
    "bad",
    [
        Given(metric("bad"), error=RuntimeError("no luck")),
        Given(metric("bad"), error=SystemExit(3)),
        Given(None),
        Given(metric("bad", "much")),
        Given(metric("bad", 1.0, label=1)),
        Given(Metric("bad", None, "gauge")),
    ],
)
def test_one_that_fails_costs_only_its_own_families(bad, caplog):
    collecting = Collecting({"bad": bad, "good": Given(metric("good"))})
    for _ in range(3):
        assert names(collecting) == ["good"]
    assert collecting.errors == {"bad": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "collector bad failed; its families are left out"
    ]


def test_one_that_hangs_costs_only_its_own_families_and_one_thread(caplog):
    hanging = Hanging()
    collecting = Collecting({"hanging": hanging, "good": Given(metric("good"))}, seconds=0.1)
    for _ in range(3):
        assert names(collecting) == ["good"]
    assert len(hanging.threads) == 1
    assert collecting.errors == {"hanging": 3}
    assert [record.getMessage() for record in caplog.records] == [
        "collector hanging takes more than 0.1 s; its families are left out until it is done"
    ]
    hanging.may_go_on.set()
    hanging.threads[0].join(10)
    assert names(collecting) == ["late", "good"]
    assert collecting.errors == {"hanging": 3}


def test_a_hanging_one_is_waited_for_once():
    several = {f"hanging {n}": Hanging() for n in range(3)}
    collecting = Collecting(several, seconds=0.1)
    assert names(collecting) == []
    # They hang at the same time, and who hangs already isn't waited for.
    assert collecting.errors == dict.fromkeys(several, 1)
    assert names(collecting) == []
    assert collecting.errors == dict.fromkeys(several, 2)
    for one in several.values():
        one.may_go_on.set()
