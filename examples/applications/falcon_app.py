"""A Falcon application.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusWorker applications.falcon_app:app
"""

import falcon
from prometheus_client import Counter, Histogram

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")


class Index:
    def on_get(self, request, response):
        response.text = "What will it be?\n"


class Orders:
    def on_post(self, request, response, item):
        if item not in ITEMS:  # a label must not take values that clients choose
            raise falcon.HTTPNotFound
        with PREPARATION.time():
            ORDERS.labels(item).inc()
        response.status = falcon.HTTP_CREATED
        response.text = f"{item}\n"


app = falcon.App(media_type=falcon.MEDIA_TEXT)
app.add_route("/", Index())
app.add_route("/orders/{item}", Orders())
