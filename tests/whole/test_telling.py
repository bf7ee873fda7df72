"""Info, Enum, exemplars, removal and functions of an application's metrics, over its workers."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = pytest.mark.compat

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
APP = "telling_application:application"


@pytest.fixture
def ask_all(wait):
    """Asks a server for something until each of its workers has done it."""

    def ask(gunicorn, path):
        done = set()

        def asked():
            done.add(int(gunicorn.get(path)[1]))
            return done >= set(gunicorn.workers())

        wait(asked, lambda: f"every worker has done {path}: {done}", 30)

    return ask


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["loaded by workers", "preloaded"])
def test_infos_enums_and_functions_of_several_workers(server, wait, preload):
    gunicorn = server("-w", "2", *preload, app=APP).start()
    now = gunicorn.scrape()
    assert now.sum("app_build_info", version="1.2.3") == 1
    assert now.sum("app_phase", app_phase="starting") == 1
    wait(lambda: gunicorn.scrape().sum("app_open_files") == 14, "functions of both workers", 20)
    gunicorn.get("/phase/running")
    now = gunicorn.scrape()
    assert now.sum("app_phase", app_phase="running") == now.sum("app_phase") == 1
    # It is what was set last, whoever has done it and however that has ended.
    for pid in gunicorn.workers():
        os.kill(pid, signal.SIGKILL)
    wait(lambda: gunicorn.scrape().sum("app_open_files") == 14, "the functions of new workers", 20)
    now = gunicorn.scrape()
    assert now.sum("app_phase", app_phase="running") == now.sum("app_phase") == 1
    text = gunicorn.scrape(accept=OPENMETRICS).text
    assert "# TYPE app_phase stateset\n" in text
    assert "# TYPE app_build info\n" in text


def test_exemplars_of_the_application(server):
    gunicorn = server("-w", "2", app=APP).start()
    for number in range(10):
        gunicorn.get(f"/job/mail?trace{number}")
    text = gunicorn.scrape(accept=OPENMETRICS).text
    assert 'app_jobs_total{queue="mail"} 10.0 # {trace_id="trace9"} 1.0 ' in text
    bucket = 'app_took_seconds_bucket{queue="mail",le="2.0"} 10.0 # {trace_id="trace9"} 1.5 '
    assert bucket in text
    assert "trace9" not in gunicorn.scrape().text


def test_a_series_is_gone_when_every_worker_has_removed_it(server, ask_all, wait):
    gunicorn = server("-w", "2", app=APP).start()
    ask_all(gunicorn, "/job/mail")
    ask_all(gunicorn, "/job/print")
    counted = gunicorn.scrape().sum("app_jobs_total", queue="mail")
    assert counted >= 2
    gunicorn.get("/remove/mail")
    assert gunicorn.scrape().sum("app_jobs_total", queue="mail") in (counted, 0)
    ask_all(gunicorn, "/remove/mail")
    now = gunicorn.scrape()
    assert 'queue="mail"' not in now.text
    assert now.sum("app_jobs_total", queue="print") >= 2
    # Workers that come later have nothing to do with it.
    first = gunicorn.workers()
    os.kill(gunicorn.pid, signal.SIGHUP)
    wait(lambda: set(gunicorn.workers()).isdisjoint(first), "new workers", 30)
    wait(lambda: len(gunicorn.workers()) == 2, "two of them", 30)
    assert 'queue="mail"' not in gunicorn.scrape().text
    assert gunicorn.scrape().sum("app_jobs_total", queue="print") >= 2
    gunicorn.get("/job/mail")
    assert gunicorn.scrape().sum("app_jobs_total", queue="mail") == counted + 1
    ask_all(gunicorn, "/clear")
    assert "queue=" not in gunicorn.scrape().text.replace('queue="print"', "")
