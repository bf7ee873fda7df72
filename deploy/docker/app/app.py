"""The sample application of the images and manifests: a shop with a metric of its own."""

from flask import Flask, abort
from prometheus_client import Counter

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
ITEMS = ("coffee", "tea")

app = Flask(__name__)


@app.get("/")
def index():
    return "What will it be?\n"


@app.get("/health")
def health():
    return "ok\n"


@app.post("/orders/<item>")
def order(item):
    if item not in ITEMS:  # a label must not take values that clients choose
        abort(404)
    ORDERS.labels(item).inc()
    return f"{item}\n", 201
