"""The application has included a router with a part of its routes."""

import asyncio

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from frameworks import parts

app = FastAPI(default_response_class=PlainTextResponse)
users = APIRouter(prefix="/users")


@app.get("/ping")
async def ping():
    return "pong"


@users.api_route("/{number}", methods=["GET", "HEAD"])
async def user(number: int):
    if number == 0:
        raise HTTPException(404)
    return f"user {number}"


@users.get("/{number}/orders/{order}")
async def order(number: int, order: str):
    return f"order {order}"


app.include_router(users)


@app.get("/handled")
def handled():
    raise parts.Conflict


@app.exception_handler(parts.Conflict)
async def conflict(request, error):
    return PlainTextResponse("conflict", 409)


@app.get("/fails")
def fails():
    raise LookupError("as asked")


@app.get("/redirect")
async def away():
    return RedirectResponse("/ping", 302)


@app.get("/stream")
async def stream():
    return StreamingResponse(parts.parts_async())


@app.post("/upload")
async def upload(request: Request):
    return str(len(await request.body()))


@app.get("/download")
async def download():
    return FileResponse(parts.FILE)


@app.get("/slow")
async def slow():
    await asyncio.sleep(parts.SECONDS)
    return "slow"


@app.get("/endless")
async def endless():
    return StreamingResponse(parts.endless_async())
