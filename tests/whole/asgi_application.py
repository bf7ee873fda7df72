"""The application under test as an ASGI application, with the same routes and metrics."""

import asyncio
import os

from application import HELLOS, LATENCY, PARTS, SIZES
from application import __file__ as path_of_file


async def front(scope, receive, send):
    HELLOS.inc()
    LATENCY.labels("front").observe(0.05)
    SIZES.observe(5)
    await answer(send, b"hello")


async def ping(scope, receive, send):
    await answer(send, b"pong")


async def upload(scope, receive, send):
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await answer(send, str(length).encode())


async def download(scope, receive, send):
    with open(path_of_file, "rb") as file:
        await answer(send, file.read())


async def fail(scope, receive, send):
    raise LookupError("as asked")


async def slow(scope, receive, send):
    await asyncio.sleep(float(scope["query_string"] or 1))
    await answer(send, b"slow")


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in PARTS:
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(float(scope["query_string"] or 0))
    await send({"type": "http.response.body"})


async def endless(scope, receive, send):
    """As frameworks do: goes on until the client has gone."""
    gone = asyncio.ensure_future(until_gone(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)


async def until_gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def breaks(scope, receive, send):
    headers = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello", "more_body": True})
    raise LookupError("as asked")


async def background(scope, receive, send):
    """Goes on after its response, and fails then."""
    await answer(send, b"done")
    await asyncio.sleep(float(scope["query_string"] or 0))
    raise LookupError("as asked")


async def silent(scope, receive, send):
    """Returns without an answer."""


async def pid(scope, receive, send):
    await answer(send, str(os.getpid()).encode())


async def answer(send, body, status=200):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


ROUTES = {
    "/": front,
    "/ping": ping,
    "/upload": upload,
    "/download": download,
    "/fail": fail,
    "/slow": slow,
    "/stream": stream,
    "/endless": endless,
    "/breaks": breaks,
    "/background": background,
    "/silent": silent,
    "/pid": pid,
}


async def websocket(scope, receive, send):
    """Echoes on /echo, fails after the first message on /fail, and takes no others."""
    await receive()
    if scope["path"] == "/fail-first":
        raise LookupError("as asked")
    if scope["path"] not in ("/echo", "/fail"):
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if scope["path"] == "/fail":
            raise LookupError("as asked")
        await send({"type": "websocket.send", "text": message["text"]})


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        event = message["type"].removeprefix("lifespan.")
        if directory := os.environ.get("LIFESPAN_EVENTS"):
            with open(f"{directory}/{os.getpid()}", "a") as file:
                print(event, file=file)
        if os.environ.get("LIFESPAN_FAILS"):
            await send({"type": "lifespan.startup.failed", "message": "as asked"})
            return
        await send({"type": f"lifespan.{event}.complete"})
        if event == "shutdown":
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif route := ROUTES.get(scope["path"].partition("-")[0]):
        await route(scope, receive, send)
    else:
        await answer(send, b"nothing here", 404)
