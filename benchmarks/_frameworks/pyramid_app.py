from pyramid.config import Configurator
from pyramid.response import Response

with Configurator() as config:
    config.add_route("hello", "/*rest")
    config.add_view(lambda request: Response("Hello, world!\n"), route_name="hello")
    app = config.make_wsgi_app()
