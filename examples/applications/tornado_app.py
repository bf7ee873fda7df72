"""A Tornado application. Tornado's worker runs WSGI applications as well.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusTornadoWorker applications.tornado_app:app
"""

from prometheus_client import Counter, Histogram
from tornado.web import Application, HTTPError, RequestHandler

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")


class Index(RequestHandler):
    def get(self):
        self.write("What will it be?\n")


class Orders(RequestHandler):
    async def post(self, item):
        if item not in ITEMS:  # a label must not take values that clients choose
            raise HTTPError(404)
        with PREPARATION.time():
            ORDERS.labels(item).inc()
        self.set_status(201)
        self.write(f"{item}\n")


app = Application([("/", Index), ("/orders/([^/]+)", Orders)])
