"""Every file of examples/ is started by the command that stands in it, asked, and scraped."""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True)
class Example:
    """A file with its command, and what is to be seen when it runs."""

    file: str
    #: Further files that are part of it.
    others: tuple[str, ...] = ()
    #: Without a configuration there is one.
    workers: int = 2
    #: `gunicorn_worker_capacity` of each worker.
    capacity: int | None = 1
    #: Status for an order of something that the shop doesn't have.
    refused: int = 404

    def __str__(self) -> str:
        return self.file.partition("/")[2]


EXAMPLES = [
    Example("applications/wsgi_app.py", workers=1),
    Example("applications/flask_app.py", workers=1),
    Example("applications/django_app.py", workers=1),
    Example("applications/pyramid_app.py", workers=1),
    Example("applications/falcon_app.py", workers=1),
    Example("applications/fastapi_app.py", workers=1, capacity=None, refused=422),
    Example("applications/tornado_app.py", workers=1, capacity=None),
    Example("configurations/basic.conf.py"),
    Example("configurations/development.conf.py", workers=1),
    Example("configurations/production.conf.py", workers=4),
    Example(
        "configurations/high_performance.conf.py",
        workers=len(os.sched_getaffinity(0)) + 1,
        capacity=8,
    ),
    Example("configurations/async.conf.py", capacity=1000),
    Example("configurations/redis.conf.py"),
    Example("configurations/ssl.conf.py"),
    Example("configurations/custom_hooks.conf.py"),
    Example("configurations/advanced_hooks.conf.py"),
    Example("configurations/yaml.conf.py", others=("configurations/exporter.yml",)),
    Example("configurations/one_flag.yml"),
    Example("configurations/secrets.yml"),
    Example("configurations/workers/sync.conf.py"),
    Example("configurations/workers/thread.conf.py", capacity=4),
    Example("configurations/workers/gevent.conf.py", capacity=1000),
    Example("configurations/workers/eventlet.conf.py", capacity=1000),
    Example("configurations/workers/tornado.conf.py", capacity=None),
    Example("configurations/workers/asgi.conf.py", capacity=1000, refused=422),
    Example("configurations/workers/uvicorn.conf.py", capacity=None, refused=422),
]
#: Folders that are more than a file to start, and where their tests are.
TESTED_ELSEWHERE = {
    "demo": "docs/test_demo.py",
    "collector-limits": "plugins/test_collector_limits.py",
    "routes-teapot": "plugins/test_routes_teapot.py",
    "storage-sqlite": "plugins/test_storage_sqlite.py",
}
BY_NAME = {str(example): example for example in EXAMPLES}

PASSWORD = "s3cr3t-sesame"


def command(text: str) -> str:
    """The command at the top of an example."""
    (found,) = re.findall(r"^(?:# )?\$ ((?:\w+=\S+ )*gunicorn .+)$", text, re.MULTILINE)
    return found


def start(shop, name, **environment):
    """Start an example; where it doesn't say where its metrics are, that is said here."""
    example = BY_NAME[name]
    text = "".join((shop.folder / file).read_text() for file in (example.file, *example.others))
    said = re.sub('""".*?"""', "", text, flags=re.DOTALL)
    if str(shop.metrics_port) not in said:
        environment["PROMETHEUS_METRICS_PORT"] = str(shop.metrics_port)
        environment["PROMETHEUS_BIND_ADDRESS"] = "127.0.0.1"
    if str(shop.port) not in said:
        environment["GUNICORN_CMD_ARGS"] = f"--bind=127.0.0.1:{shop.port}"
    (shop.folder / "run/secrets/redis_password").write_text(f"{PASSWORD}\n")
    if name == "ssl.conf.py":
        shop.context = make_certificates(shop.folder / "etc/gunicorn")
    return shop.start(command(text), **environment)


def make_certificates(folder):
    """The files that the server needs, and what a scraper does."""
    authority = trustme.CA()
    own, scraper = authority.issue_cert("localhost"), authority.issue_cert("prometheus")
    own.private_key_pem.write_to_path(folder / "metrics.key")
    own.cert_chain_pems[0].write_to_path(folder / "metrics.crt")
    authority.cert_pem.write_to_path(folder / "scrapers.crt")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    scraper.configure_cert(context)
    return context


@pytest.fixture(scope="module", autouse=True)
def _redis_user(redis_server):
    redis_server.cli("acl", "setuser", "shop", "on", f">{PASSWORD}", "~shop:*", "+@all")


def test_these_are_all_examples(examples):
    found = {
        str(path.relative_to(examples))
        for path in examples.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    elsewhere = {path for path in found if path.partition("/")[0] in TESTED_ELSEWHERE}
    here = {file for each in EXAMPLES for file in (each.file, *each.others)}
    assert found - elsewhere == here | {"README.md"}


@pytest.mark.parametrize("folder", TESTED_ELSEWHERE)
def test_what_is_tested_elsewhere_is(examples, folder):
    assert (examples / folder).is_dir()
    tests = (Path(__file__).parents[1] / TESTED_ELSEWHERE[folder]).read_text()
    shared = (Path(__file__).parents[1] / "plugins/conftest.py").read_text()
    assert "\ndef test_" in tests
    assert folder in tests + shared


def test_the_readme_leads_to_all_of_them(examples):
    linked = set(re.findall(r"\]\(([\w./]+)\)", (examples / "README.md").read_text()))
    assert {file for each in EXAMPLES for file in (each.file, *each.others)} <= linked


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_it_counts_every_request(shop, example):
    start(shop, str(example))
    shop.wait_for_workers(example.workers)
    assert shop.ask("GET", "/") == (200, "What will it be?\n")
    shop.order("tea", 6)
    shop.order("coffee", 3)
    assert shop.ask("POST", "/orders/gold")[0] == example.refused
    scrape = shop.wait_counted("gunicorn_worker_requests_total", 11)
    assert scrape.sum("shop_orders_total", item="tea") == 6
    assert scrape.sum("shop_orders_total", item="coffee") == 3
    assert scrape.sum("shop_preparation_seconds_count") == 9
    by_status = "gunicorn_http_request_duration_seconds_count"
    for status, number in ((200, 1), (201, 9), (example.refused, 1)):
        assert scrape.sum(by_status, status=str(status)) == number, scrape.text
    assert scrape.sum("gunicorn_workers") == example.workers
    capacity = 0 if example.capacity is None else example.capacity * example.workers
    assert scrape.sum("gunicorn_worker_capacity") == capacity
    assert scrape.sum("gunicorn_worker_memory_bytes") > 1e6

    shop.reload()
    shop.order("tea")
    scrape = shop.wait_counted("gunicorn_worker_requests_total", 12)
    assert scrape.sum("shop_orders_total", item="tea") == 7
    assert scrape.sum("gunicorn_master_worker_restart_total", reason="hup") == 1
    shop.end()


# What single ones are about


def test_production_has_logs_that_can_be_rotated(shop, wait_for):
    start(shop, "production.conf.py")
    logs, run = shop.folder / "var/log/gunicorn", shop.folder / "run/gunicorn"
    shop.wait_for_workers(4)
    shop.order("tea", 5)
    access = logs / "access.log"
    wait_for(lambda: access.read_text().count("POST /orders/tea") == 5, access.read_text)
    assert int((run / "pid").read_text()) == shop.process.pid
    assert list((run / "metrics").glob("*.db"))

    access.rename(logs / "access.log.1")
    os.kill(int((run / "pid").read_text()), signal.SIGUSR1)
    wait_for(access.exists, lambda: shop.log)
    shop.wait_counted("gunicorn_master_worker_restart_total", 1, reason="usr1")

    def goes_into_the_new_one():
        shop.ask("GET", "/")
        return "GET /" in access.read_text()

    wait_for(goes_into_the_new_one, lambda: shop.log)

    shop.send(signal.SIGTTIN)
    shop.wait_counted("gunicorn_workers", 5)
    shop.wait_for_workers(5)
    shop.send(signal.SIGTTOU)
    shop.wait_counted("gunicorn_worker_exits_total", 1, cause="scale_down")
    shop.wait_counted("gunicorn_workers", 4)
    shop.wait_counted("shop_orders_total", 5)
    shop.end()
    assert "Shutting down: Master" in (logs / "error.log").read_text()
    assert not (run / "pid").exists()


@pytest.mark.parametrize("file", ["applications/flask_app.py", "configurations/exporter.yml"])
def test_development_loads_what_has_changed(shop, wait_for, file):
    start(shop, "development.conf.py")
    before = shop.wait_for_workers(1)
    shop.order("tea", 3)
    changed = shop.folder / file
    text = changed.read_text().replace("What will it be?", "We have news!")
    written = []

    def is_loaded():
        # A worker that has only just begun may not be watching yet.
        if not written or time.monotonic() - written[-1] > 5:
            changed.write_text(f"{text}\n# {len(written)}\n")
            written.append(time.monotonic())
        return len(shop.workers) == 1 and not shop.workers & before

    wait_for(is_loaded, lambda: shop.log)
    said = "We have news!" if file.endswith(".py") else "What will it be?"
    assert shop.ask("GET", "/") == (200, f"{said}\n")
    shop.order("tea")
    shop.wait_counted("shop_orders_total", 4)
    shop.end()


def test_servers_share_a_redis(open_shop, redis_server):
    one, other = open_shop(), open_shop()
    # On hosts of their own they have names of their own.
    start(one, "redis.conf.py", GUNICORN_PROMETHEUS_INSTANCE="one")
    start(other, "redis.conf.py", GUNICORN_PROMETHEUS_INSTANCE="other")
    one.order("tea", 4)
    other.order("tea", 5)
    for each in (one, other):
        each.wait_counted("shop_orders_total", 9)
        each.wait_counted("gunicorn_workers", 4)
    keys = redis_server.cli("keys", "*").split()
    assert keys
    assert all(key.startswith("shop:") for key in keys)
    one.end()
    other.wait_counted("gunicorn_workers", 2)
    other.wait_counted("shop_orders_total", 9)
    other.end()


def test_secrets_are_read_and_not_told(shop, redis_server, wait_for):
    start(shop, "secrets.yml")
    wait_for(lambda: "user=shop " in redis_server.cli("client", "list"), lambda: shop.log)
    shop.order("tea", 2)
    scrape = shop.wait_counted("shop_orders_total", 2)
    assert scrape.sum("gunicorn_exporter_storage_up") == 1
    assert PASSWORD not in scrape.text
    assert PASSWORD not in shop.log
    shop.end()


def test_nobody_scrapes_without_a_certificate(shop):
    start(shop, "ssl.conf.py")
    shop.order("tea")
    shop.wait_counted("shop_orders_total", 1)
    scraper = shop.context
    without = ssl.create_default_context(cafile=shop.folder / "etc/gunicorn/scrapers.crt")
    for shop.context in (without, None):
        with pytest.raises((OSError, http.client.HTTPException)):
            shop.scrape()
    shop.context = scraper
    shop.wait_counted("shop_orders_total", 1)
    shop.end()


def test_custom_hooks_are_called(shop, wait_for):
    start(shop, "custom_hooks.conf.py")
    workers = shop.wait_for_workers(2)
    assert "The shop is about to open" in shop.log
    assert "The shop is open" in shop.log
    os.kill(min(workers), signal.SIGINT)
    wait_for(lambda: "A clerk was sent home" in shop.log, lambda: shop.log)
    shop.end()
    assert "The shop is closed" in shop.log


def test_advanced_hooks_say_where_the_metrics_are(shop, wait_for):
    start(shop, "advanced_hooks.conf.py")
    wait_for(
        lambda: f"Metrics are served on port {shop.metrics_port}" in shop.log, lambda: shop.log
    )
    shop.wait_for_workers(2)
    assert "Updated GUNICORN_WORKERS from CLI: 2" in shop.log
    shop.end()
    assert "The shop is closed" in shop.log
