import time
from pathlib import Path

from bottle import Bottle, HTTPResponse, abort, redirect, request, static_file
from frameworks import parts

app = Bottle()


@app.get("/ping")
def ping():
    return "pong"


@app.get("/users/<number:int>")
def user(number):
    if number == 0:
        abort(404)
    return f"user {number}"


@app.get("/users/<number:int>/orders/<order>")
def order(number, order):
    return f"order {order}"


def conflicts(callback):
    """A plugin."""

    def wrapped(*args, **kwargs):
        try:
            return callback(*args, **kwargs)
        except parts.Conflict:
            return HTTPResponse("conflict", 409)

    return wrapped


app.install(conflicts)


@app.get("/handled")
def handled():
    raise parts.Conflict


@app.get("/fails")
def fails():
    raise LookupError("as asked")


@app.get("/redirect")
def away():
    redirect("/ping", 302)


@app.get("/stream")
def stream():
    return parts.parts()


@app.post("/upload")
def upload():
    return str(len(request.body.read()))


@app.get("/download")
def download():
    path = Path(parts.FILE)
    return static_file(path.name, path.parent)


@app.get("/slow")
def slow():
    time.sleep(parts.SECONDS)
    return "slow"


@app.get("/endless")
def endless():
    return parts.endless()
