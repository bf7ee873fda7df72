"""The application has mounted a part of its routes."""

import asyncio

from frameworks import parts
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Mount, Route


async def ping(request):
    return PlainTextResponse("pong")


async def user(request):
    if request.path_params["number"] == 0:
        raise HTTPException(404)
    return PlainTextResponse(f"user {request.path_params['number']}")


async def order(request):
    return PlainTextResponse(f"order {request.path_params['order']}")


async def handled(request):
    raise parts.Conflict


async def conflict(request, error):
    return PlainTextResponse("conflict", 409)


async def fails(request):
    raise LookupError("as asked")


async def away(request):
    return RedirectResponse("/ping", 302)


async def stream(request):
    return StreamingResponse(parts.parts_async())


async def upload(request):
    return PlainTextResponse(str(len(await request.body())))


async def download(request):
    return FileResponse(parts.FILE)


async def slow(request):
    await asyncio.sleep(parts.SECONDS)
    return PlainTextResponse("slow")


async def endless(request):
    return StreamingResponse(parts.endless_async())


users = [
    Route("/{number:int}", user),
    Route("/{number:int}/orders/{order}", order),
]
app = Starlette(
    routes=[
        Route("/ping", ping),
        Mount("/users", routes=users),
        Route("/handled", handled),
        Route("/fails", fails),
        Route("/redirect", away),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/slow", slow),
        Route("/endless", endless),
    ],
    exception_handlers={parts.Conflict: conflict},
)
