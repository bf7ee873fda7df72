"""The example of a collector, installed as a wheel beside the exporter."""

from __future__ import annotations

import resource

import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("installed")]


def test_it_is_found_and_shows_its_family(serve, until):
    server = serve()
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = {f'workers_open_files_limit{{worker_id="{number}"}}': limit for number in range(4)}

    def shown():
        return {k: v for k, v in server.samples().items() if k.startswith("workers_open_")}

    until(lambda: shown() == wanted, shown)


def test_one_that_fails_is_counted_and_the_rest_served(serve, until, installed):
    site = installed.run("python", "-c", "import gunicorn_metrics_limits as m; print(m.__file__)")
    module = site.strip()
    with open(module, encoding="utf-8") as file:
        right = file.read()
    try:
        with open(module, "a", encoding="utf-8") as file:
            file.write("\n\nLimits.collect = lambda self, processes: 1 / 0\n")
        server = serve()
        server.ask(3)
        name = 'gunicorn_exporter_collector_errors_total{collector="limits"}'
        until(lambda: server.samples().get(name, 0) > 1, server.samples)
        assert server.requests() >= 3
        assert server.log.read_text().count("collector limits failed") == 1
    finally:
        with open(module, "w", encoding="utf-8") as file:
            file.write(right)
