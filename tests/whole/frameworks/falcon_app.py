"""As WSGI application ``app`` and as ASGI application ``asgi``."""

import asyncio
import time

import falcon
import falcon.asgi
from frameworks import parts


class Conflicts:
    def on_get(self, request, response):
        raise parts.Conflict


class Ping:
    def on_get(self, request, response):
        response.text = "pong"


class User:
    def on_get(self, request, response, number):
        if number == 0:
            raise falcon.HTTPNotFound
        response.text = f"user {number}"

    on_head = on_get


class Order:
    def on_get(self, request, response, number, order):
        response.text = f"order {order}"


class Fails:
    def on_get(self, request, response):
        raise LookupError("as asked")


class Away:
    def on_get(self, request, response):
        raise falcon.HTTPFound("/ping")


class Stream:
    def on_get(self, request, response):
        response.stream = parts.parts()


class Upload:
    def on_post(self, request, response):
        response.text = str(len(request.bounded_stream.read()))


class Download:
    def on_get(self, request, response):
        response.stream = open(parts.FILE, "rb")  # noqa: SIM115  closed by the server


class Slow:
    def on_get(self, request, response):
        time.sleep(parts.SECONDS)
        response.text = "slow"


class Endless:
    def on_get(self, request, response):
        response.stream = parts.endless()


def conflict(request, response, error, params):
    response.status, response.text = 409, "conflict"


RESOURCES = {
    "/ping": Ping(),
    "/users/{number:int}": User(),
    "/users/{number:int}/orders/{order}": Order(),
    "/handled": Conflicts(),
    "/fails": Fails(),
    "/redirect": Away(),
    "/stream": Stream(),
    "/upload": Upload(),
    "/download": Download(),
    "/slow": Slow(),
    "/endless": Endless(),
}

app = falcon.App()
app.add_error_handler(parts.Conflict, conflict)
for route, resource in RESOURCES.items():
    app.add_route(route, resource)


class Async:
    """The same resource with coroutines."""

    def __init__(self, resource):
        self._resource = resource
        for name in ("on_get", "on_head", "on_post"):
            if hasattr(resource, name):
                setattr(self, name, getattr(self, f"_{name}"))

    async def _on_get(self, request, response, **params):
        if isinstance(self._resource, Slow):
            await asyncio.sleep(parts.SECONDS)
        elif isinstance(self._resource, Stream):
            response.stream = parts.parts_async()
            return
        elif isinstance(self._resource, Endless):
            response.stream = parts.endless_async()
            return
        elif isinstance(self._resource, Download):
            with open(parts.FILE, "rb") as file:
                response.data = file.read()
            return
        self._resource.on_get(request, response, **params)

    _on_head = _on_get

    async def _on_post(self, request, response):
        response.text = str(len(await request.stream.read()))


async def conflict_async(request, response, error, params):
    conflict(request, response, error, params)


asgi = falcon.asgi.App()
asgi.add_error_handler(parts.Conflict, conflict_async)
for route, resource in RESOURCES.items():
    asgi.add_route(route, Async(resource))
