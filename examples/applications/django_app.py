"""A Django project in one module; in yours, metrics are best made in a module of their own.

$ gunicorn -k gunicorn_prometheus_exporter.PrometheusWorker applications.django_app:application
"""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
from prometheus_client import Counter, Histogram

ORDERS = Counter("shop_orders", "Orders taken.", ["item"])
PREPARATION = Histogram("shop_preparation_seconds", "Time that preparing an order has taken.")
ITEMS = ("coffee", "tea")

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for trying it out"),
)


@require_GET
def index(request):
    return HttpResponse("What will it be?\n", content_type="text/plain")


@require_POST
def order(request, item):
    if item not in ITEMS:  # a label must not take values that clients choose
        raise Http404
    with PREPARATION.time():
        ORDERS.labels(item).inc()
    return HttpResponse(f"{item}\n", status=201, content_type="text/plain")


urlpatterns = [path("", index), path("orders/<str:item>", order)]

application = get_wsgi_application()
