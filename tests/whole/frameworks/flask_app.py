import time

from flask import Flask, abort, redirect, request, send_file
from frameworks import parts

app = Flask(__name__)


@app.get("/ping")
def ping():
    return "pong"


@app.get("/users/<int:number>")
def user(number):
    if number == 0:
        abort(404)
    return f"user {number}"


@app.get("/users/<int:number>/orders/<order>")
def order(number, order):
    return f"order {order}"


@app.get("/handled")
def handled():
    raise parts.Conflict


@app.errorhandler(parts.Conflict)
def conflict(error):
    return "conflict", 409


@app.get("/fails")
def fails():
    raise LookupError("as asked")


@app.get("/redirect")
def away():
    return redirect("/ping")


@app.get("/stream")
def stream():
    return app.response_class(parts.parts())


@app.post("/upload")
def upload():
    return str(len(request.get_data()))


@app.get("/download")
def download():
    return send_file(parts.FILE)


@app.get("/slow")
def slow():
    time.sleep(parts.SECONDS)
    return "slow"


@app.get("/endless")
def endless():
    return app.response_class(parts.endless())
