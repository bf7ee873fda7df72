"""ASGI applications between a server that is played here and what is recorded of them."""

import asyncio

import pytest

from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_workers.asgi import Application
from gunicorn_prometheus_workers.requests import Requests

READ, SENT = f"{c.HTTP_REQUEST_SIZE.name}_sum", f"{c.HTTP_RESPONSE_SIZE.name}_sum"
FAILED, ERRORS = (f"{family.storage_name}_total" for family in (c.WORKER_FAILED, c.WORKER_ERRORS))
OPENED = f"{c.WORKER_WEBSOCKETS.storage_name}_total"
IN_PROGRESS, OPEN = c.WORKER_IN_PROGRESS.name, c.WORKER_WEBSOCKETS_OPEN.name


def start(status=200):
    return {"type": "http.response.start", "status": status, "headers": []}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture(autouse=True)
def nothing_is_left_open(recorder):
    yield
    assert recorder.total(IN_PROGRESS) == recorder.total(OPEN) == 0


@pytest.fixture
def ask(recorder):
    """Asks an application once; gives what it sent. ``raised`` has what it raised."""
    requests = Requests(recorder, Settings(endpoint_limit=100))

    def run(application, messages=(), gone=lambda *_: False, **scope):
        sent, incoming = [], iter(messages)

        async def receive():
            return next(incoming)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/a", "raw_path": b"/a", **scope}
        asyncio.run(_call(Application(application, requests, gone), scope, receive, send))
        return sent

    return run


async def _call(application, *arguments):
    await application(*arguments)


def answers(*messages):
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    return application


def test_a_request_is_recorded_once_and_its_messages_pass_unchanged(ask, recorder):
    messages = [start(201), body(b"one", more=True), body(b"two")]
    assert ask(answers(*messages)) == messages
    assert recorder.requests() == {("GET", "/a", "201"): 1}
    assert recorder.total(SENT) == 6


def test_the_body_of_a_request_is_what_the_application_asks_for(ask, recorder):
    seen = []

    async def application(scope, receive, send):
        seen.extend([await receive(), await receive()])
        await answers(start(), body())(scope, receive, send)

    parts = [{"type": "http.request", "body": b"x" * n, "more_body": n < 3} for n in (1, 2, 3)]
    ask(application, parts, method="POST")
    assert seen == parts[:2]
    assert recorder.total(READ) == 3


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_body_that_no_server_sends_is_not_counted(ask, recorder, method, status):
    ask(answers(start(status), body(b"dropped", more=True), body(b"dropped")), method=method)
    assert recorder.total(SENT) == 0


def test_what_is_sent_to_nobody_is_not_counted(ask, recorder):
    left = []

    async def application(scope, receive, send):
        await send(start())
        await send(body(b"x" * 10, more=True))
        left.append(True)
        await send(body(b"x" * 1000, more=True))

    ask(application, gone=lambda *_: bool(left))
    assert recorder.total(SENT) == 10


@pytest.mark.parametrize(
    ("before", "gone", "status", "answered"),
    [
        ([], False, "500", 1),
        ([], True, "499", 0),
        ([start()], False, "200", 0),
        ([start(), body(b"ab")], False, "200", 0),
    ],
)
def test_an_exception_is_counted_and_goes_on_to_the_server(
    ask, recorder, before, gone, status, answered
):
    error = LookupError("as asked")

    async def application(scope, receive, send):
        await answers(*before)(scope, receive, send)
        raise error

    with pytest.raises(LookupError) as caught:
        ask(application, gone=lambda *_: gone)
    assert caught.value is error
    assert recorder.requests() == {("GET", "_unmatched_" if gone else "/a", status): 1}
    assert recorder.total(FAILED, error_type="LookupError") == 1
    assert recorder.total(ERRORS) == answered


def test_a_task_that_is_cancelled_before_its_answer_is_a_499(ask, recorder):
    async def application(scope, receive, send):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        ask(application)
    assert recorder.requests() == {("GET", "_unmatched_", "499"): 1}


def test_a_task_that_is_cancelled_after_its_answer_is_no_failure(ask, recorder):
    async def application(scope, receive, send):
        await answers(start(), body())(scope, receive, send)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        ask(application)
    assert recorder.requests() == {("GET", "/a", "200"): 1}
    assert recorder.total(FAILED) == 0


def test_an_application_that_returns_without_an_answer_is_a_500(ask, recorder):
    ask(answers())
    assert recorder.requests() == {("GET", "/a", "500"): 1}


def test_other_scopes_pass_untouched(ask, recorder):
    async def application(scope, receive, send):
        assert scope["type"] == "lifespan"
        assert await receive() == {"type": "lifespan.startup"}
        await send({"type": "lifespan.startup.complete"})

    sent = ask(application, [{"type": "lifespan.startup"}], type="lifespan")
    assert sent == [{"type": "lifespan.startup.complete"}]
    assert recorder.requests() == {}


@pytest.mark.parametrize(
    ("scope", "endpoint"),
    [
        ({"path": "/ä", "raw_path": b"/%C3%A4?x"}, "/%C3%A4"),
        ({"path": "/b", "raw_path": None}, "/b"),
        ({"path": "/b", "raw_path": b""}, "/b"),
    ],
)
def test_the_path_is_the_one_that_the_client_sent(ask, recorder, scope, endpoint):
    ask(answers(start(), body()), **scope)
    assert recorder.requests() == {("GET", endpoint, "200"): 1}


# WebSockets


def websocket(*messages, error=None):
    async def application(scope, receive, send):
        for message in messages:
            await send({"type": f"websocket.{message}"})
        if error is not None:
            raise error

    return application


@pytest.mark.parametrize(
    ("messages", "outcome", "endpoint"),
    [
        (["accept", "send", "close"], "accepted", "/a"),
        (["close"], "rejected", "_unmatched_"),
        (["http.response.start", "http.response.body"], "rejected", "_unmatched_"),
        ([], "failed", "_unmatched_"),
    ],
)
def test_a_websocket_is_counted_by_what_became_of_it(ask, recorder, messages, outcome, endpoint):
    ask(websocket(*messages), type="websocket")
    assert recorder.samples(OPENED) == [({"endpoint": endpoint, "outcome": outcome}, 1)]
    assert recorder.requests() == {}


def test_a_websocket_is_open_from_its_acceptance_to_the_end(ask, recorder):
    seen = []

    async def application(scope, receive, send):
        seen.append(recorder.total(OPEN))
        await send({"type": "websocket.accept"})
        seen.append(recorder.total(OPEN))

    ask(application, type="websocket")
    assert seen == [0, 1]


@pytest.mark.parametrize("messages", [[], ["accept"]])
def test_an_exception_of_a_websocket_is_counted_and_goes_on(ask, recorder, messages):
    with pytest.raises(LookupError):
        ask(websocket(*messages, error=LookupError()), type="websocket")
    assert recorder.total(FAILED, error_type="LookupError") == 1
    outcome = "accepted" if messages else "failed"
    assert recorder.total(OPENED, outcome=outcome) == recorder.total(OPENED) == 1


def test_recording_that_fails_is_not_the_applications_trouble(ask, recorder, logged):
    recorder.broken = True
    assert len(ask(answers(start(), body(b"fine")))) == 2
    assert len(ask(websocket("accept"), type="websocket")) == 1
    recorder.broken = False
    assert recorder.total("gunicorn_exporter_recording_errors_total") == 4
    assert len(logged) == 1


def test_pages_that_cannot_be_written_to_are_not_the_applications_trouble(ask, recorder, logged):
    views = {page: page.view for page in recorder.pages.values()}
    for page in views:
        page.view = memoryview(b"")
        page.view.release()
    assert len(ask(answers(start(), body(b"fine")))) == 2
    for page, view in views.items():
        page.view = view
    assert len(logged) == 1
    assert len(ask(answers(start(), body(b"fine")))) == 2
    assert sum(recorder.requests().values()) == 1
