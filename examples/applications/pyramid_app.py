"""A Pyramid application.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusWorker applications.pyramid_app:app
"""

from prometheus_client import Counter, Histogram
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPNotFound
from pyramid.response import Response

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")


def index(request):
    return Response("What will it be?\n", content_type="text/plain")


def order(request):
    item = request.matchdict["item"]
    if item not in ITEMS:  # a label must not take values that clients choose
        raise HTTPNotFound
    with PREPARATION.time():
        ORDERS.labels(item).inc()
    return Response(f"{item}\n", status=201, content_type="text/plain")


with Configurator() as config:
    config.add_route("index", "/")
    config.add_view(index, route_name="index", request_method="GET")
    config.add_route("order", "/orders/{item}")
    config.add_view(order, route_name="order", request_method="POST")
    app = config.make_wsgi_app()
