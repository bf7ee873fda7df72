"""A WSGI application without a framework.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusWorker applications.wsgi_app:app

The metrics are made as anywhere else; nothing here knows of the exporter.
"""

from http import HTTPStatus

from prometheus_client import Counter, Histogram

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")


def app(environ, start_response):
    match environ["REQUEST_METHOD"], environ["PATH_INFO"].split("/"):
        case "GET", ["", ""]:
            return answer(start_response, HTTPStatus.OK, "What will it be?")
        case "POST", ["", "orders", item] if item in ITEMS:
            with PREPARATION.time():
                ORDERS.labels(item).inc()
            return answer(start_response, HTTPStatus.CREATED, item)
    return answer(start_response, HTTPStatus.NOT_FOUND, "We don't have that.")


def answer(start_response, status, text):
    body = f"{text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
