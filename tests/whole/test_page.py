"""The page in a real browser, beside a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socketserver
import threading
import time
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
SIZES = {"phone": (375, 812), "tablet": (820, 1100), "desktop": (1280, 800)}
SECOND = 1000
#: Of a class of exceptions.
LONG_NAME = "PaymentProviderIsTemporarilyUnavailableForThisCurrencyError"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def look(browser):
    """Opens the page of a server; what the browser complains of fails the test."""
    complaints, contexts = [], []

    def hear(said):
        # Texts that a link leads to have no icon, and the browser asks for one.
        if not said.location["url"].endswith("/favicon.ico"):
            complaints.append(said.text)

    def open_page(gunicorn, path="/", port=None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port or gunicorn.metrics_port}{path}")
        return page

    open_page.complaints = complaints
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def status_of(gunicorn):
    url = f"http://127.0.0.1:{gunicorn.metrics_port}/api/v1/status"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def row(page, table, text):
    """The row of a table that is headed by this text."""
    return page.locator(f"#{table} tbody tr", has=page.get_by_role("rowheader", name=text))


def cells(row, page, table):
    """What a row says, by the heads of its columns."""
    heads = page.locator(f"#{table} thead th").all_inner_texts()
    return dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", text)]


def test_what_it_shows_is_what_the_metrics_say(server, load, look):
    gunicorn = server("-w", "2").start()
    with load(gunicorn) as client:
        client.more(100)
    gunicorn.get("/slow?0.2")
    total = client.total + 2  # with the one that showed that it answers
    scrape = gunicorn.wait_counted("gunicorn_worker_requests_total", total)
    page = look(gunicorn)
    expect(page.locator("#verdict-text")).to_have_text("All 2 workers up")
    expect(page.locator("#tile-requests [data-more]")).to_have_text(f"{total:,} in all")
    failed = int(scrape.sum("gunicorn_http_request_duration_seconds_count", status="500"))
    expect(page.locator("#tile-errors [data-more]")).to_contain_text(f"{failed:,} in all")

    expect(page.locator("#workers tbody tr")).to_have_count(2)
    pids = set()
    for number in ("0", "1"):
        shown = cells(row(page, "workers", number), page, "workers")
        pids.add(int(shown["PID"]))
        assert shown["State"] == "running"
        assert shown["In progress"] == "0 of 1"
        assert shown["Last exit"] == "none"
        (memory,) = scrape.values("gunicorn_worker_memory_bytes", worker_id=number).values()
        assert numbers(shown["Memory"])[0] == pytest.approx(memory / 2**20, rel=0.2)
    assert pids == set(gunicorn.workers())

    count = "gunicorn_http_request_duration_seconds_count"
    routes = {dict(labels)["endpoint"] for labels in scrape.values(count)}
    shown = {}
    if page.locator("#routes-more").is_visible():
        page.locator("#routes-more").click()
    for line in page.locator("#routes tbody tr").all():
        said = cells(line, page, "routes")
        shown.setdefault(said["Route"].split()[1], []).append(said)
    assert shown.keys() == routes
    for endpoint, lines in shown.items():
        assert sum(numbers(said["In all"])[0] for said in lines) == scrape.sum(
            count, endpoint=endpoint
        )
    assert numbers(shown["/fail"][0]["Failed"])[0] == failed
    # In the object as well, to the last digit.
    now = status_of(gunicorn)
    for worker in now["workers"]:
        own = {"worker_id": worker["id"]}
        assert worker["requests"]["count"] == scrape.sum("gunicorn_worker_requests_total", **own)
        busy = scrape.sum("gunicorn_worker_busy_seconds_total", **own)
        assert worker["requests"]["seconds"] == pytest.approx(busy)
    row_of_failures = row(page, "exceptions", "LookupError").first
    assert numbers(cells(row_of_failures, page, "exceptions")["Number"])[0] == failed
    own = f"http://127.0.0.1:{gunicorn.metrics_port}/"
    assert {url.removeprefix(own).partition("/")[0] for url in page.asked} == {"", "page", "api"}


@pytest.mark.compat
def test_a_killed_worker_shows_up_with_its_cause_within_two_seconds(server, look):
    gunicorn = server("-w", "2").start()
    page = look(gunicorn)
    expect(page.locator("#verdict-text")).to_have_text("All 2 workers up")
    expect(page.locator("#problems li")).to_have_count(0)
    killed, _ = gunicorn.workers()
    began = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    expect(page.locator("#exits tbody tr")).to_contain_text("killed", timeout=2 * SECOND)
    expect(page.locator("#problems")).to_contain_text("was killed", timeout=2 * SECOND)
    expect(page.locator("#workers")).to_contain_text("killed", timeout=2 * SECOND)
    assert time.monotonic() - began < 2
    expect(page.locator("#verdict")).to_have_class("bad")
    expect(page.get_by_role("status")).to_contain_text("was killed")
    # Whoever looks later sees it as well, and when that was.
    later = look(gunicorn)
    expect(later.locator("#problems")).to_contain_text(
        re.compile(r"^Worker \d was killed at \d\d:\d\d:\d\d")
    )
    expect(later.locator("#verdict-text")).to_have_text("All 2 workers up")
    last = status_of(gunicorn)["master"]["exits"]["killed"]["last"]
    assert 0 <= time.time() - last < 60


def test_signals_and_further_workers_show_up(server, look):
    gunicorn = server("-w", "1").start()
    page = look(gunicorn)
    expect(page.locator("#verdict-text")).to_have_text("The worker is up")
    expect(page.locator("#signals-empty")).to_be_visible()
    gunicorn.send(signal.SIGTTIN)
    expect(page.locator("#verdict-text")).to_have_text("All 2 workers up")
    expect(row(page, "signals", "TTIN")).to_contain_text("ago")
    expect(page.locator("#workers tbody tr")).to_have_count(2)
    gunicorn.send(signal.SIGTTOU)
    expect(page.locator("#exits")).to_contain_text("scale down")
    expect(page.locator("#problems li")).to_have_count(0)


def test_rates_and_plots_under_load(server, load, look):
    gunicorn = server("-w", "2").start()
    page = look(gunicorn)
    expect(page.locator("#tile-requests .figure")).to_have_text("0/s")
    with load(gunicorn):
        expect(page.locator("#tile-requests .figure")).to_have_text(
            re.compile(r"^[\d,.]*[1-9][\d,.]*/s$")
        )
        for quantile in ("p50", "p95", "p99"):
            expect(page.locator(f"#tile-latency [data-{quantile}]")).to_have_text(
                re.compile(r"^[\d.]+ m?s$")
            )
        expect(page.locator("#tile-errors .figure")).to_have_text(re.compile(r"^1\d%$"))
        expect(page.locator("#tile-utilisation .figure")).to_have_text(re.compile(r"[1-9].*%$"))
        line = page.locator("#tile-requests path.line")
        expect(line).to_have_attribute("d", re.compile(r"M.*L.*L"))
        drawn = line.get_attribute("d")
        expect(line).not_to_have_attribute("d", drawn)
        worker = row(page, "workers", "0")
        expect(worker.locator("path.line")).to_have_attribute("d", re.compile("L"))
    expect(page.locator("#tile-requests .figure")).to_have_text("0/s", timeout=20 * SECOND)


def test_a_worker_that_hangs_is_named(server, look):
    gunicorn = server("-w", "2").start()
    page = look(gunicorn)
    expect(page.locator("#verdict-more")).to_contain_text("No trouble")

    def hang():
        with contextlib.suppress(OSError, http.client.HTTPException):
            gunicorn.get("/slow?12")

    thread = threading.Thread(target=hang)
    thread.start()
    expect(page.locator("#problems")).to_contain_text("is at 1 request since", timeout=12 * SECOND)
    expect(page.locator("#workers tr.stuck")).to_contain_text("100%")
    thread.join()
    expect(page.locator("#problems li")).to_have_count(0)


HOSTILE = "/pid-<img/src=x/onerror=alert(1)>\"'&lt;script>alert(2)</script>"


def test_hostile_paths_are_text(server, look):
    gunicorn = server("-w", "1").start()
    with gunicorn_connection(gunicorn) as connection:
        connection.putrequest("GET", HOSTILE)
        connection.endheaders()
        assert connection.getresponse().status == 200
    page = look(gunicorn)
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog) or dialog.dismiss())
    (path,) = [one["endpoint"] for one in status_of(gunicorn)["routes"] if "<" in one["endpoint"]]
    expect(page.locator("#routes")).to_contain_text(path)
    assert page.locator("img, #routes script").count() == 0
    assert dialogs == []


@contextlib.contextmanager
def gunicorn_connection(gunicorn):
    connection = http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def test_the_policy_is_in_force(server, look):
    page = look(server("-w", "1").start())
    expect(page.locator("#connection-text")).to_have_text("Live")
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => {
                resolve(event.violatedDirective);
            });
            new Image().src = "http://127.0.0.1:9/picture.png";
        })"""
    )
    assert blocked == "img-src"
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<p>markup</p>'")
    look.complaints.clear()  # of just this


def test_without_a_connection_it_says_how_old_it_is(server, look):
    gunicorn = server("-w", "1").start()
    page = look(gunicorn)
    expect(page.locator("#connection-text")).to_have_text("Live")
    gunicorn.stop()
    expect(page.locator("#connection-text")).to_have_text(
        re.compile(r"No connection · these numbers are \d+ s old")
    )
    gunicorn.start()
    expect(page.locator("#connection-text")).to_have_text("Live", timeout=10 * SECOND)
    assert all("ERR_" in said for said in look.complaints)  # the browser's own, of the connection
    look.complaints.clear()


def test_nobody_is_asked_while_nobody_looks(server, look):
    gunicorn = server("-w", "1").start()
    page = look(gunicorn)
    expect(page.locator("#connection-text")).to_have_text("Live")
    hidden = "Object.defineProperty(document, 'visibilityState', {value: %r, configurable: true});"
    hidden += "document.dispatchEvent(new Event('visibilitychange'))"
    with page.expect_response("**/api/v1/status"):
        pass  # so that none is under way
    page.evaluate(hidden % "hidden")
    page.wait_for_timeout(200)
    asked = len(page.asked)
    page.wait_for_timeout(2500)  # more than two polls
    assert len(page.asked) == asked
    with page.expect_response("**/api/v1/status", timeout=SECOND):
        page.evaluate(hidden % "visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_is_accessible(server, load, look, scheme, size):
    gunicorn = server("-w", "2").start()
    width, height = SIZES[size]
    page = look(gunicorn, viewport={"width": width, "height": height}, color_scheme=scheme)
    with load(gunicorn) as client:
        client.more(50)
    assert gunicorn.get(f"/fail-{'at-length' * 10}?{LONG_NAME}")[0] == 500
    expect(page.locator("#exceptions")).to_contain_text(LONG_NAME)
    os.kill(gunicorn.workers()[0], signal.SIGKILL)
    expect(page.locator("#problems")).to_contain_text("was killed")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll("main *:not(.unseen):not(.unseen *)")]
            .filter((e) => !e.closest("thead") && !e.closest("svg"))
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    brightness = sum(numbers(background)[:3]) / 3
    assert brightness < 60 if scheme == "dark" else brightness > 200
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_everything_is_reached_by_keyboard(server, look):
    page = look(server("-w", "1").start())
    expect(page.locator("#connection-text")).to_have_text("Live")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.href"))
        focused = "document.activeElement.closest('label') || document.activeElement"
        assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
        if reached[-1] == "window":
            page.keyboard.press("ArrowRight")
            assert page.locator('input[name="window"]:checked').get_attribute("value") == "60"
        if reached[-1] == "order":
            page.keyboard.press("ArrowRight")
            assert page.locator('input[name="order"]:checked').get_attribute("value") == "errors"
    assert reached[:2] == ["window", "order"]
    assert reached[2].endswith("/metrics")
    assert reached[3].endswith("/api/v1/status")


class Prefix(socketserver.StreamRequestHandler):
    """A proxy that serves another server below /monitoring/."""

    def handle(self):
        method, target, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass
        if not target.startswith("/monitoring/"):
            self.wfile.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, target.removeprefix("/monitoring"))
            answer = connection.getresponse()
            heads = "".join(f"{name}: {value}\r\n" for name, value in answer.getheaders())
            self.wfile.write(f"HTTP/1.0 {answer.status} x\r\n{heads}\r\n".encode() + answer.read())


def test_it_works_below_a_path_of_a_proxy(server, look):
    gunicorn = server("-w", "1").start()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Prefix) as proxy:
        proxy.behind = gunicorn.metrics_port
        threading.Thread(target=proxy.serve_forever).start()
        try:
            page = look(gunicorn, "/monitoring/", port=proxy.server_address[1])
            expect(page.locator("#verdict-text")).to_have_text("The worker is up")
            page.get_by_role("link", name="For Prometheus").click()
            expect(page.locator("body")).to_contain_text("gunicorn_workers 1.0")
        finally:
            page.context.close()
            proxy.shutdown()


def test_it_can_be_switched_off(server, look):
    gunicorn = server("-w", "1", GUNICORN_PROMETHEUS_PAGE="false").start()
    page = look(gunicorn)
    expect(page.locator("a")).to_have_count(1)
    page.locator("a").click()
    expect(page.locator("body")).to_contain_text("gunicorn_workers 1.0")
