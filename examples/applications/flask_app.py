"""A Flask application.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusWorker applications.flask_app:app
"""

from flask import Flask, abort
from prometheus_client import Counter, Histogram

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")

app = Flask(__name__)


@app.get("/")
def index():
    return "What will it be?\n"


@app.post("/orders/<item>")
def order(item):
    if item not in ITEMS:  # a label must not take values that clients choose
        abort(404)
    with PREPARATION.time():
        ORDERS.labels(item).inc()
    return f"{item}\n", 201
