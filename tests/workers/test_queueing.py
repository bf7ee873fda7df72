import time

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_workers.gthread import PrometheusThreadWorker
from gunicorn_prometheus_workers.queueing import parse, stamp_in

QUEUE = c.HTTP_QUEUE.name
SKEWED = c.HTTP_QUEUE_SKEWED.name


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


@pytest.mark.parametrize(
    "text",
    [
        "1700000000.25",
        "t=1700000000.25",
        " t=1700000000.25 ",
        "1700000000250",
        "1700000000250.0",
        "t=1700000000250000",
        "1700000000250000000",
        "t=1700000000.25, t=1700000009.00",
    ],
)
def test_a_time_is_understood_in_every_unit(text):
    assert parse(text) == pytest.approx(1_700_000_000.25)


@pytest.mark.parametrize("text", ["", "t=", "soon", "t=t=1", "nan", "inf", "1e30", "0x10", "t=1 2"])
def test_what_is_no_time_is_none(text):
    assert parse(text) is None


def test_the_header_is_found_in_a_scope():
    headers = [(b"host", b"a"), (b"x-queue-start", b"t=1"), (b"x-request-start", b"t=2")]
    assert stamp_in(headers) == "t=1"
    assert stamp_in(headers[:1]) is None


@pytest.mark.parametrize("header", ["X-Request-Start", "X-Queue-Start"])
@pytest.mark.parametrize("unit", [1, 1e3, 1e6])
def test_the_time_in_a_proxy_is_recorded(make_worker, exchange, recorder, get, header, unit):
    sent = time.time() - 0.5
    exchange(make_worker(hello), get(headers=[f"{header}: t={sent * unit:.3f}"]))
    assert 0.5 <= recorder.total(f"{QUEUE}_sum") < 30
    assert recorder.total(f"{QUEUE}_bucket") == 1
    assert recorder.total(SKEWED) == 0


def test_a_time_to_come_is_none_at_all_and_counted(make_worker, exchange, recorder, get):
    exchange(make_worker(hello), get(headers=[f"X-Request-Start: t={time.time() + 100:.3f}"]))
    assert recorder.total(f"{QUEUE}_bucket", le="0.005") == 1
    assert recorder.total(f"{QUEUE}_sum") == 0
    assert recorder.total(SKEWED) == 1


@pytest.mark.parametrize("text", ["garbage", "0", "-1", "1", "nan", "1e99", "\xff"])
def test_a_time_that_a_stranger_has_made_up_changes_nothing(
    make_worker, exchange, recorder, get, text
):
    request = get(headers=["X-Request-Start: HERE"]).replace(b"HERE", text.encode("latin-1"))
    assert exchange(make_worker(hello), request).endswith(b"hello")
    assert recorder.total(f"{QUEUE}_bucket") == recorder.total(SKEWED) == 0
    assert recorder.total(c.EXPORTER_RECORDING_ERRORS.name) == 0


def test_it_can_be_switched_off(make_worker, exchange, recorder, get, in_force):
    in_force(queue_time=False)
    exchange(make_worker(hello), get(headers=[f"X-Request-Start: {time.time() - 1}"]))
    assert recorder.samples(f"{QUEUE}_bucket") == []


def test_the_wait_for_a_thread_is_recorded(make_worker, recorder):
    worker = make_worker(hello, PrometheusThreadWorker, threads=1)

    class Pool:
        def submit(self, call, connection):
            self.call = lambda: call(connection)
            return self

        def add_done_callback(self, _):
            pass

    class Connection:
        initialized = data_ready = True

        def __getattr__(self, name):
            raise OSError("closed")

    worker.tpool = pool = Pool()
    connection = Connection()
    # Before Gunicorn 24 connections are made ready first.
    connection.init = lambda: None
    worker.futures = []
    worker.enqueue_req(connection)
    queued = connection._gunicorn_prometheus_queued
    connection._gunicorn_prometheus_queued = queued - 0.25
    pool.call()
    assert 0.25 <= recorder.total(f"{c.WORKER_THREAD_WAIT.name}_sum") < 10
    assert recorder.total(f"{c.WORKER_THREAD_WAIT.name}_bucket") == 1
    # A connection that came past us is handled all the same.
    del connection._gunicorn_prometheus_queued
    pool.call()
    assert recorder.total(c.EXPORTER_RECORDING_ERRORS.name) == 1
