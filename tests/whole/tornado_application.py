"""The application under test as an application of Tornado's own, with the same routes."""

import asyncio
import os

from application import HELLOS, LATENCY, PARTS, SIZES
from application import __file__ as path_of_file
from tornado.web import Application, HTTPError, RequestHandler


class Handler(RequestHandler):
    def log_exception(self, typ, value, tb):
        """Keeps the log short."""

    def write_error(self, status_code, **kwargs):
        self.finish(b"")


class Front(Handler):
    def get(self):
        HELLOS.inc()
        LATENCY.labels("front").observe(0.05)
        SIZES.observe(5)
        self.write(b"hello")


class Ping(Handler):
    def get(self):
        self.write(b"pong")

    head = get


class Upload(Handler):
    def post(self):
        self.write(str(len(self.request.body)))


class Download(Handler):
    async def get(self):
        with open(path_of_file, "rb") as file:
            while part := file.read(1000):
                self.write(part)
                await self.flush()


class Fail(Handler):
    def get(self):
        raise LookupError("as asked")


class Unavailable(Handler):
    def get(self):
        raise HTTPError(503)


class Nowhere(Handler):
    def get(self):
        raise HTTPError(404)


class Slow(Handler):
    async def get(self):
        await asyncio.sleep(float(self.request.query or 1))
        self.write(b"slow")


class Stream(Handler):
    async def get(self):
        for part in PARTS:
            self.write(part)
            await self.flush()
            await asyncio.sleep(float(self.request.query or 0))


class Endless(Handler):
    async def get(self):
        while True:
            self.write(b"x" * 65536)
            await self.flush()


class Breaks(Handler):
    async def get(self):
        self.set_header("Content-Length", "10")
        self.write(b"hello")
        await self.flush()
        raise LookupError("as asked")


class Pid(Handler):
    def get(self):
        self.write(str(os.getpid()))


ROUTES = {
    "/": Front,
    "/ping": Ping,
    "/upload": Upload,
    "/download": Download,
    "/fail": Fail,
    "/unavailable": Unavailable,
    "/slow": Slow,
    "/stream": Stream,
    "/endless": Endless,
    "/breaks": Breaks,
    "/pid": Pid,
    "/nowhere": Nowhere,
}

app = Application([(f"{path}(?:-.*)?", handler) for path, handler in ROUTES.items()])
