import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="of this test")


def hello(request, rest):
    return HttpResponse("Hello, world!\n")


urlpatterns = [re_path("^(?P<rest>.*)$", hello)]
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402

app = get_wsgi_application()
