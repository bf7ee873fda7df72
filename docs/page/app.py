"""A shop that is worth looking at: routes of every speed, and one that fails now and then."""

import random
import time

#: How often each route fails, and how long it takes in the middle, in seconds.
ROUTES = {
    "/": (0, 0.006),
    "/products": (0, 0.018),
    "/products/search": (0.004, 0.07),
    "/cart": (0, 0.012),
    "/checkout": (0.05, 0.16),
    "/account": (0, 0.009),
    "/api/stock": (0.01, 0.025),
    "/api/prices": (0, 0.004),
    "/reports/daily": (0, 0.45),
}


class PaymentDeclined(Exception):
    pass


class StockUnavailable(Exception):
    pass


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path not in ROUTES:
        return answer(start_response, "404 Not Found")
    fails, seconds = ROUTES[path]
    time.sleep(seconds * random.lognormvariate(0, 0.6))
    if random.random() < fails:
        raise PaymentDeclined if path == "/checkout" else StockUnavailable
    return answer(start_response, "200 OK")


def answer(start_response, status):
    start_response(status, [("Content-Length", "3")])
    return [b"ok\n"]
