"""Which trace a request was of, as an exemplar of its duration."""

import asyncio
import json

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.storage import EXEMPLAR
from gunicorn_prometheus_workers import exemplars
from gunicorn_prometheus_workers.asgi import Application
from gunicorn_prometheus_workers.requests import Requests

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header",
    [GOOD, f"00-{TRACE}-{SPAN}-03", f"00-{TRACE}-{SPAN}-ff", f"01-{TRACE}-{SPAN}-01-what comes"],
)
def test_a_sampled_trace_is_one(header):
    assert exemplars.trace_in(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        *("", "x", "00", TRACE, f"{TRACE}-{SPAN}"),
        f"00-{TRACE}-{SPAN}-00",  # not sampled
        f"00-{TRACE}-{SPAN}-02",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",  # not in version 0
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD},{GOOD}",
        f"00-{TRACE}-{SPAN}-0\u0661",
        f'00-{TRACE[:-2]}"}}-{SPAN}-01',
        "00-" + "a" * 100_000,
    ],
)
def test_what_a_stranger_makes_up_is_none(header):
    assert exemplars.trace_in(header) is None


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


@pytest.fixture
def noted(recorder):
    """The exemplars: {(endpoint, le): labels}."""

    def read():
        found = {}
        for (kind, key), remark in recorder.remarks.items():
            assert kind == EXEMPLAR
            family, sample, labels, _ = json.loads(key)
            assert (family, sample) == (c.HTTP_DURATION.name, f"{c.HTTP_DURATION.name}_bucket")
            assert remark.value <= float(labels["le"])
            found[labels["endpoint"]] = remark.labels
        return found

    return read


def test_the_header_of_a_request_gives_an_exemplar(make_worker, exchange, get, noted):
    worker = make_worker(hello)
    exchange(worker, get("/a", headers=[f"Traceparent: {GOOD}"]))
    exchange(worker, get("/b"))
    exchange(worker, get("/c", headers=["Traceparent: nonsense"]))
    assert noted() == {"/a": {"trace_id": TRACE}}


def test_a_bucket_rests_between_exemplars(recorder):
    taken = exemplars.Exemplars(recorder)
    taken.place([b"key"], [7])

    def observe(ended, trace):
        header = {"HTTP_TRACEPARENT": f"00-{trace * 32}-{SPAN}-01"}
        taken.observe(7, 0.5, ended, header)
        return recorder.remarks[EXEMPLAR, b"key"].labels["trace_id"][0]

    assert [observe(10.0, "a"), observe(10.9, "b"), observe(11.1, "c")] == ["a", "a", "c"]


def test_an_application_can_say_it_itself(make_worker, exchange, get, noted):
    def application(environ, start_response):
        environ["gunicorn_prometheus.trace"] = environ["QUERY_STRING"]
        return hello(environ, start_response)

    worker = make_worker(application)
    exchange(worker, get(f"/a?{TRACE}"))
    exchange(worker, get("/b?nonsense"))
    assert noted() == {"/a": {"trace_id": TRACE}}


def test_exemplars_can_be_switched_off(make_worker, exchange, get, noted, in_force):
    in_force(exemplars=False)
    exchange(make_worker(hello), get("/a", headers=[f"Traceparent: {GOOD}"]))
    assert noted() == {}


@pytest.fixture
def span():
    """Begins spans of OpenTelemetry's; which nobody has loaded before."""
    from opentelemetry.sdk.trace import TracerProvider, sampling

    def begin(sampled=True):
        sampler = sampling.ALWAYS_ON if sampled else sampling.ALWAYS_OFF
        return TracerProvider(sampler=sampler).get_tracer("test").start_as_current_span("request")

    return begin


def test_the_span_of_opentelemetry_is_found_while_the_application_answers(
    make_worker, exchange, get, noted, span
):
    traces = []

    def application(environ, start_response):
        with span() as one:
            traces.append(f"{one.get_span_context().trace_id:032x}")
            return hello(environ, start_response)

    exchange(make_worker(application), get("/a"))
    exchange(make_worker(hello), get("/b"))
    assert noted() == {"/a": {"trace_id": traces[0]}}


def test_a_span_that_is_not_sampled_is_none(make_worker, exchange, get, noted, span):
    def application(environ, start_response):
        with span(sampled=False):
            return hello(environ, start_response)

    exchange(make_worker(application), get("/a"))
    assert noted() == {}


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "span"])
def test_asgi_applications_have_exemplars(recorder, noted, span, by_header):
    traces = [TRACE]

    async def application(scope, receive, send):
        if by_header:
            await answer(send)
            return
        with span() as one:
            traces[0] = f"{one.get_span_context().trace_id:032x}"
            await answer(send)

    async def answer(send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def nowhere(message):
        pass

    headers = [(b"host", b"x"), (b"traceparent", GOOD.encode())] if by_header else []
    scope = {"type": "http", "method": "GET", "path": "/a", "headers": headers}
    requests = Requests(recorder, Settings())

    async def call():
        await Application(application, requests, lambda *_: False)(scope, None, nowhere)

    asyncio.run(call())
    assert noted() == {"/a": {"trace_id": traces[0]}}
