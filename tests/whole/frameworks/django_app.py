"""As WSGI application ``app`` and as ASGI application ``asgi``."""

import time

import django
from django.conf import settings
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import path
from django.views.decorators.http import require_safe
from frameworks import parts

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "frameworks.django_app.conflicts",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of this test",
)


class conflicts:
    def __init__(self, get_response):
        self._get_response = get_response

    def __call__(self, request):
        return self._get_response(request)

    def process_exception(self, request, error):
        if isinstance(error, parts.Conflict):
            return HttpResponse("conflict", status=409)
        return None


def ping(request):
    return HttpResponse("pong")


def user(request, number):
    if number == 0:
        raise Http404
    return HttpResponse("" if request.method == "HEAD" else f"user {number}")


def order(request, number, order):
    return HttpResponse(f"order {order}")


def handled(request):
    raise parts.Conflict


def fails(request):
    raise LookupError("as asked")


@require_safe
def away(request):
    return HttpResponseRedirect("/ping")


def stream(request):
    iterates = parts.parts if hasattr(request, "environ") else parts.parts_async
    return StreamingHttpResponse(iterates())


def upload(request):
    return HttpResponse(str(len(request.body)))


def download(request):
    return FileResponse(open(parts.FILE, "rb"))


def slow(request):
    time.sleep(parts.SECONDS)
    return HttpResponse("slow")


def endless(request):
    iterates = parts.endless if hasattr(request, "environ") else parts.endless_async
    return StreamingHttpResponse(iterates())


urlpatterns = [
    path("ping", ping),
    path("users/<int:number>", user),
    path("users/<int:number>/orders/<order>", order),
    path("handled", handled),
    path("fails", fails),
    path("redirect", away),
    path("stream", stream),
    path("upload", upload),
    path("download", download),
    path("slow", slow),
    path("endless", endless),
]

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

app = get_wsgi_application()
asgi = get_asgi_application()
