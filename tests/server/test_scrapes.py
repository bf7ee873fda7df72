"""Scrapes that are asked for at the same time: shared, bounded, and given up on in time."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest

from gunicorn_prometheus_core.catalogue import EXPORTER_ANSWER_ERRORS, EXPORTER_SCRAPES
from gunicorn_prometheus_core.recording import sample_keys
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_server.app import App
from gunicorn_prometheus_server.defects import Defects
from gunicorn_prometheus_server.page import Page
from gunicorn_prometheus_server.refusals import Refusals
from gunicorn_prometheus_server.scrapes import Scrapes, TookTooLong, TooMany, Wanted
from gunicorn_prometheus_storage_mmap.recorder import Recorder

ALL = Wanted(TEXT_0_0_4)


class Exposition:
    """Gives a text that is another one each time, when it may."""

    rejected = 0

    def __init__(self):
        self.collector_errors = {}
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)
        self.rendered = []

    def render(self, form, names):
        self.begun.release()
        assert self.may_go_on.acquire(timeout=30)
        self.rendered.append(names)
        return b"%d" % len(self.rendered)


@pytest.fixture
def exposition():
    return Exposition()


@pytest.fixture
def recorder():
    with contextlib.closing(Recorder()) as recorder:
        yield recorder


async def begun(exposition):
    """Wait until a computation has begun."""
    assert await asyncio.to_thread(exposition.begun.acquire, True, 20)


def test_those_who_wait_share_a_computation_that_begins_after_they_came(exposition, recorder):
    async def run():
        scrapes = Scrapes(exposition, recorder)
        first = asyncio.create_task(scrapes.render(ALL))
        await begun(exposition)
        others = [asyncio.create_task(scrapes.render(ALL)) for _ in range(50)]
        await asyncio.sleep(0)
        exposition.may_go_on.release(2)
        assert await first == b"1"
        assert await asyncio.gather(*others) == [b"2"] * 50

    asyncio.run(run())
    cells = recorder.cells("counter", sample_keys(EXPORTER_SCRAPES, {}))
    assert cells.page.view[cells.at[0]] == 51


def test_who_wants_something_else_gets_that(exposition, recorder):
    async def run():
        scrapes = Scrapes(exposition, recorder)
        exposition.may_go_on.release(3)
        wanted = [Wanted(TEXT_0_0_4, frozenset({name})) for name in "aabba"]
        assert len(set(await asyncio.gather(*map(scrapes.render, wanted)))) == 2

    asyncio.run(run())
    assert len(exposition.rendered) == 2


def test_more_than_a_number_are_refused(exposition, recorder):
    async def run():
        scrapes = Scrapes(exposition, recorder)
        waiting = [asyncio.create_task(scrapes.render(ALL)) for _ in range(256)]
        await begun(exposition)
        with pytest.raises(TooMany):
            await scrapes.render(ALL)
        exposition.may_go_on.release()
        await asyncio.gather(*waiting)
        exposition.may_go_on.release()
        await scrapes.render(ALL)

    asyncio.run(run())


def test_who_waits_no_longer_is_told_in_time_and_nothing_is_computed_for_nobody(
    exposition, recorder
):
    async def run():
        scrapes = Scrapes(exposition, recorder)
        first = asyncio.create_task(scrapes.render(ALL))
        await begun(exposition)
        with pytest.raises(TookTooLong):
            await scrapes.render(ALL, 0.05)
        exposition.may_go_on.release(2)
        assert await first == b"1"
        await asyncio.sleep(0.05)
        assert await scrapes.render(ALL) == b"2"

    asyncio.run(run())


@pytest.mark.parametrize("timeout", [b"0.2", b"1e-1"])
def test_the_scrapers_patience_is_honoured(exposition, recorder, timeout):
    async def run():
        app = App(Scrapes(exposition, recorder), Refusals(recorder))
        headers = [(b"x-prometheus-scrape-timeout-seconds", timeout)]
        scope = {"method": "GET", "path": "/metrics", "query_string": b"", "headers": headers}
        began = time.monotonic()
        status, _, body = await app(scope)
        took = time.monotonic() - began
        exposition.may_go_on.release(100)
        return status, body, took

    status, body, took = asyncio.run(run())
    assert status == 503
    assert body == b"the scrape took longer than you would wait\n"
    # Before the time is over, and not much before.
    assert float(timeout) * 0.85 < took < float(timeout) + 5


@pytest.mark.parametrize("timeout", [b"", b"soon", b"-1", b"0", b"nan", b"inf", b"1e999"])
def test_a_patience_that_makes_no_sense_is_ignored(exposition, recorder, timeout):
    async def run():
        app = App(Scrapes(exposition, recorder), Refusals(recorder))
        exposition.may_go_on.release(100)
        headers = [(b"x-prometheus-scrape-timeout-seconds", timeout)]
        scope = {"method": "GET", "path": "/metrics", "query_string": b"", "headers": headers}
        return (await app(scope))[0]

    assert asyncio.run(run()) == 200


def test_with_too_many_under_way_the_answer_is_503(exposition, recorder):
    async def run():
        refusals = Refusals(recorder)
        app = App(Scrapes(exposition, recorder), refusals)
        scope = {"method": "GET", "path": "/metrics", "query_string": b"", "headers": []}
        waiting = [asyncio.create_task(app(scope)) for _ in range(256)]
        await begun(exposition)
        status, headers, _ = await app(scope)
        exposition.may_go_on.release(100)
        assert {answer[0] for answer in await asyncio.gather(*waiting)} == {200}
        return status, dict(headers)

    status, headers = asyncio.run(run())
    assert status == 503
    assert headers[b"retry-after"] == b"1"


class BrokenStatus:
    """One that can't be computed."""

    def text(self):
        raise ValueError("a defect")


def test_defects_cost_an_answer_and_are_counted_and_logged_once_a_minute(
    exposition, recorder, caplog
):
    page = Page(BrokenStatus(), Scrapes(exposition, recorder), Defects(recorder))
    for _ in range(3):
        status, _, said = asyncio.run(page.answer("/api/v1/status", {}, False))
        assert status == 500
        assert b"a defect" not in said
    cells = recorder.cells("counter", sample_keys(EXPORTER_ANSWER_ERRORS, {}))
    assert cells.page.view[cells.at[0]] == 3
    (record,) = caplog.records
    assert record.getMessage().startswith("what the page shows could not be computed; ")
    assert record.exc_info[0] is ValueError
