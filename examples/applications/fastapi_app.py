"""A FastAPI application.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusUvicornWorker applications.fastapi_app:app
"""

from typing import Literal

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import Counter, Histogram

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")

app = FastAPI(default_response_class=PlainTextResponse)


@app.get("/")
async def index() -> str:
    return "What will it be?\n"


@app.post("/orders/{item}", status_code=201)
async def order(item: Literal["coffee", "tea"]) -> str:
    with PREPARATION.time():
        ORDERS.labels(item).inc()
    return f"{item}\n"
