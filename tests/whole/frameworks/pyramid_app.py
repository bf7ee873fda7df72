import time

from frameworks import parts
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound, HTTPMethodNotAllowed, HTTPNotFound
from pyramid.response import FileResponse, Response


def ping(request):
    return Response("pong")


def user(request):
    if request.matchdict["number"] == "0":
        raise HTTPNotFound
    return Response(f"user {request.matchdict['number']}")


def order(request):
    return Response(f"order {request.matchdict['order']}")


def handled(request):
    raise parts.Conflict


def conflict(error, request):
    return Response("conflict", status=409)


def fails(request):
    raise LookupError("as asked")


def away(request):
    if request.method == "POST":
        raise HTTPMethodNotAllowed
    return HTTPFound("/ping")


def stream(request):
    return Response(app_iter=parts.parts())


def upload(request):
    return Response(str(len(request.body)))


def download(request):
    return FileResponse(parts.FILE)


def slow(request):
    time.sleep(parts.SECONDS)
    return Response("slow")


def endless(request):
    return Response(app_iter=parts.endless())


def make():
    with Configurator() as config:
        for name, pattern, view in (
            ("ping", "/ping", ping),
            ("user", "/users/{number}", user),
            ("order", "/users/{number}/orders/{order}", order),
            ("handled", "/handled", handled),
            ("fails", "/fails", fails),
            ("redirect", "/redirect", away),
            ("stream", "/stream", stream),
            ("upload", "/upload", upload),
            ("download", "/download", download),
            ("slow", "/slow", slow),
            ("endless", "/endless", endless),
        ):
            config.add_route(name, pattern)
            config.add_view(view, route_name=name)
        config.add_exception_view(conflict, context=parts.Conflict)
        return config.make_wsgi_app()


app = make()
