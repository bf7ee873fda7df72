import asyncio

from frameworks import parts
from quart import Quart, Response, abort, redirect, request, send_file

app = Quart(__name__)
# Quart ends responses that take longer.
app.config["RESPONSE_TIMEOUT"] = None


@app.get("/ping")
async def ping():
    return "pong"


@app.get("/users/<int:number>")
async def user(number):
    if number == 0:
        abort(404)
    return f"user {number}"


@app.get("/users/<int:number>/orders/<order>")
async def order(number, order):
    return f"order {order}"


@app.get("/handled")
async def handled():
    raise parts.Conflict


@app.errorhandler(parts.Conflict)
async def conflict(error):
    return "conflict", 409


@app.get("/fails")
async def fails():
    raise LookupError("as asked")


@app.get("/redirect")
async def away():
    return redirect("/ping")


@app.get("/stream")
async def stream():
    return Response(parts.parts_async())


@app.post("/upload")
async def upload():
    return str(len(await request.get_data()))


@app.get("/download")
async def download():
    return await send_file(parts.FILE)


@app.get("/slow")
async def slow():
    await asyncio.sleep(parts.SECONDS)
    return "slow"


@app.get("/endless")
async def endless():
    return Response(parts.endless_async())
