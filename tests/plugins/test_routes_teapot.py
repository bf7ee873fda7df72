"""The example of a framework that tells its routes, installed as a wheel."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("installed")]

APP = """
import teapot

app = teapot.App()


@app.route("/pots/{number}")
def pot(number):
    return f"Pot {number} is full.\\n"
"""


def test_requests_are_counted_by_its_routes(serve, until):
    server = serve(app=APP)
    for number in range(20):
        assert server.get(f"pots/{number}") == f"Pot {number} is full.\n"

    def counted():
        name, found = "gunicorn_http_request_duration_seconds_count", {}
        for sample, value in server.samples().items():
            if sample.startswith(name):
                endpoint = sample.partition('endpoint="')[2].partition('"')[0]
                found[endpoint] = found.get(endpoint, 0) + value
        return found

    until(lambda: counted().get("/pots/{number}") == 20, counted)
    assert counted().keys() <= {"/pots/{number}", "_unmatched_"}
