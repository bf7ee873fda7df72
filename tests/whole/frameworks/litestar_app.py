import asyncio

from frameworks import parts
from litestar import Litestar, MediaType, Request, Response, get, head, post
from litestar.exceptions import NotFoundException
from litestar.response import File, Redirect, Stream


@get("/ping", media_type=MediaType.TEXT)
async def ping() -> str:
    return "pong"


@get("/users/{number:int}", media_type=MediaType.TEXT)
async def user(number: int) -> str:
    if number == 0:
        raise NotFoundException
    return f"user {number}"


@head("/users/{number:int}", media_type=MediaType.TEXT)
async def user_head(number: int) -> None:
    pass


@get("/users/{number:int}/orders/{order:str}", media_type=MediaType.TEXT)
async def order(number: int, order: str) -> str:
    return f"order {order}"


@get("/handled")
async def handled() -> None:
    raise parts.Conflict


def conflict(request: Request, error: parts.Conflict) -> Response:
    return Response("conflict", status_code=409, media_type=MediaType.TEXT)


@get("/fails")
async def fails() -> None:
    raise LookupError("as asked")


@get("/redirect", status_code=302)
async def away() -> Redirect:
    return Redirect("/ping")


@get("/stream")
async def stream() -> Stream:
    return Stream(parts.parts_async())


@post("/upload", status_code=200, media_type=MediaType.TEXT)
async def upload(request: Request) -> str:
    return str(len(await request.body()))


@get("/download")
async def download() -> File:
    return File(parts.FILE)


@get("/slow", media_type=MediaType.TEXT)
async def slow() -> str:
    await asyncio.sleep(parts.SECONDS)
    return "slow"


@get("/endless")
async def endless() -> Stream:
    return Stream(parts.endless_async())


handlers = [ping, user, user_head, order, handled, fails, away, stream]
handlers += [upload, download, slow, endless]
app = Litestar(handlers, exception_handlers={parts.Conflict: conflict})
