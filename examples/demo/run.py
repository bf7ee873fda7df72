"""Run the demo application under Gunicorn, send requests to it, and show what its metrics say.

Ctrl-C ends it and leaves nothing behind. `--seconds N` ends it after N seconds; `--json` writes,
as the last line, what was sent and the last scrape.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from itertools import count, cycle
from pathlib import Path
from urllib.parse import urlsplit

from gunicorn.config import KNOWN_SETTINGS
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_prometheus_core.configuration import FILE_VARIABLE
from gunicorn_prometheus_core.settings import DECLARATIONS

HOST = "127.0.0.1"
REFRESH_SECONDS = 3.0
START_SECONDS = 30.0
END_SECONDS = 15.0

#: Method, path, size of the body. What the demo client sends, over and over.
ROUND = (
    ("GET", "/fast?kind=tea", 0),
    ("GET", "/fast?kind=coffee", 0),
    ("GET", "/slow", 0),
    ("POST", "/upload", 20_000),
    ("GET", "/fast?kind=coffee", 0),
    ("GET", "/download", 0),
    ("GET", "/failing", 0),
    ("GET", "/fast?kind=tea", 0),
    ("GET", "/no-such-route", 0),
    ("GET", "/fast?kind=coffee", 0),
)


class Ended(Exception):
    """Gunicorn has ended by itself."""


# Gunicorn


def free_port(wanted):
    """That port of the loopback interface, or another one if it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            probe.listen()
            return probe.getsockname()[1]
    raise OSError(f"no free port on {HOST}")


def command(port):
    arguments = [sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}"]
    if any("--no-control-socket" in (setting.cli or ()) for setting in KNOWN_SETTINGS):
        arguments.append("--no-control-socket")
    return [*arguments, "app:app"]


def environment(port):
    """Ours without what would make this another demo: settings of Gunicorn and of the exporter."""
    settings = {declared.variable for declared in DECLARATIONS.values()} | {FILE_VARIABLE}
    kept = {name: value for name, value in os.environ.items() if name not in settings}
    kept.pop("GUNICORN_CMD_ARGS", None)
    return kept | {
        "PROMETHEUS_BIND_ADDRESS": HOST,
        "PROMETHEUS_METRICS_PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",  # it is to leave no file behind
    }


class Gunicorn:
    """The server, as a child process in a session of its own: Ctrl-C is for us alone."""

    def __init__(self):
        application, metrics = free_port(8000), free_port(9091)
        self.application = f"http://{HOST}:{application}"
        self.page = f"http://{HOST}:{metrics}/"
        self.metrics = f"{self.page}metrics"
        self.log = deque(maxlen=200)
        self.show_log = False
        self.process = subprocess.Popen(
            command(application),
            cwd=Path(__file__).parent,
            env=environment(metrics),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def _read_log(self):
        for line in self.process.stdout:
            self.log.append(line)
            # Not the route that is meant to fail, nor the traceback that follows.
            if self.show_log and line.startswith("[") and "/failing" not in line:
                say(f"  gunicorn: {line.rpartition('] ')[2].strip()}")

    def check(self):
        if self.process.poll() is not None:
            raise Ended

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_SECONDS
        for url in (f"{self.application}/", self.metrics):
            while not answers(url):
                self.check()
                if time.monotonic() > deadline:
                    raise Ended
                time.sleep(0.05)

    def end(self):
        """End it, gracefully if it lets us."""
        self.show_log = False
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        # The log ends when the last process that could write into it has ended.
        self._reader.join(END_SECONDS)


# Requests


def request(method, url, size=0):
    """The status and the body of the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    with contextlib.closing(connection):
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, path, body=b"x" * size if size else None)
        response = connection.getresponse()
        return response.status, response.read()


def answers(url):
    try:
        return request("HEAD", url)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Traffic:
    """A client that sends one request after the other, and counts them."""

    def __init__(self, application):
        self._application = application
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answered = Counter({("HEAD", "/", 200): 1})  # what showed that it answers
        self.unanswered = 0
        self._thread.start()

    def _run(self):
        for number, (method, target, size) in enumerate(cycle(ROUND)):
            if self._over.is_set() and number >= len(ROUND):  # every route at least once
                return
            try:
                status, _ = request(method, self._application + target, size)
            except (OSError, http.client.HTTPException):
                self.unanswered += 1  # its worker was killed
            else:
                self.answered[method, target, status] += 1
            self._over.wait(0.08)

    def end(self):
        self._over.set()
        self._thread.join()

    @property
    def total(self):
        return sum(self.answered.values())


# Metrics


class Scrape:
    """The samples of one scrape."""

    def __init__(self, url):
        status, body = request("GET", url)
        if status != 200:
            raise OSError(f"the metrics endpoint answered {status}")
        self.time = time.monotonic()
        self.text = body.decode()
        families = text_string_to_metric_families(self.text)
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name, **labels):
        """The sum of all samples that have this name and these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


REQUESTS = "gunicorn_worker_requests_total"
BUSY = "gunicorn_worker_busy_seconds_total"
CAPACITY = "gunicorn_worker_capacity"
HTTP = "gunicorn_http_request_duration_seconds_count"
MEMORY = "gunicorn_worker_memory_bytes"
EXITS = "gunicorn_worker_exits_total"
ORDERS = "demo_orders_total"

COLUMNS = (
    # heading, width, the metric, its value in this scrape and the one before
    (
        "worker 0",
        9,
        f'{REQUESTS}{{worker_id="0"}}',
        lambda now, _: f"{now.total(REQUESTS, worker_id='0'):.0f}",
    ),
    (
        "worker 1",
        9,
        f'{REQUESTS}{{worker_id="1"}}',
        lambda now, _: f"{now.total(REQUESTS, worker_id='1'):.0f}",
    ),
    ("per s", 6, f"rate({REQUESTS})", lambda now, was: f"{rate(now, was, REQUESTS):.1f}"),
    (
        "busy",
        5,
        f"rate({BUSY}) / {CAPACITY}",
        lambda now, was: f"{rate(now, was, BUSY) / (now.total(CAPACITY) or 1):.0%}",
    ),
    ("failed", 7, f'{HTTP}{{status="500"}}', lambda now, _: f"{now.total(HTTP, status='500'):.0f}"),
    (
        "no route",
        9,
        f'{HTTP}{{endpoint="_unmatched_"}}',
        lambda now, _: f"{now.total(HTTP, endpoint='_unmatched_'):.0f}",
    ),
    ("MiB", 4, MEMORY, lambda now, _: f"{now.total(MEMORY) / 2**20:.0f}"),
    ("replaced", 9, EXITS, lambda now, _: f"{now.total(EXITS):.0f}"),
    (
        "coffee",
        7,
        f'{ORDERS}{{kind="coffee"}}',
        lambda now, _: f"{now.total(ORDERS, kind='coffee'):.0f}",
    ),
    ("tea", 4, f'{ORDERS}{{kind="tea"}}', lambda now, _: f"{now.total(ORDERS, kind='tea'):.0f}"),
)


def rate(now, was, name):
    return (now.total(name) - was.total(name)) / ((now.time - was.time) or 1)


# Telling


def say(line=""):
    print(line, flush=True)


def bold(text):
    """Bold on a terminal, plain in a pipe."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def introduce(gunicorn):
    pid = gunicorn.process.pid
    say(bold("Gunicorn with metrics. Ctrl-C ends it."))
    say()
    say(f"  application  {gunicorn.application}/")
    say(f"  metrics      {gunicorn.metrics}")
    say(f"  page         {gunicorn.page}")
    say()
    say("Open the page in a browser. In another terminal, try:")
    say()
    say(f"  kill -HUP {pid:<14}replaces the workers; their counts go on")
    say(f"  pkill -KILL -P {pid:<9}kills workers and exporter on the spot; the counts go on")
    say()
    say(f"Requests are being sent to every route. The metrics say, every {REFRESH_SECONDS:g} s:")
    say()
    for heading, _, metric, _ in COLUMNS:
        say(f"  {heading:<9} {metric}")


def headings():
    return bold("".join(f"{heading:>{width + 1}}" for heading, width, *_ in COLUMNS))


def values(now, was):
    return "".join(f"{show(now, was):>{width + 1}}" for _, width, _, show in COLUMNS)


def watch(gunicorn, first, over):
    """A line of values now and then, until it is over."""
    was = first
    for number in count():
        if over.wait(REFRESH_SECONDS):
            return
        gunicorn.check()
        if number % 20 == 0:
            say()
            say(headings())
        try:
            now = Scrape(gunicorn.metrics)
        except (OSError, http.client.HTTPException) as error:
            say(f"  no metrics just now: {error}")
        else:
            say(values(now, was))
            was = now


def last_scrape(gunicorn, total):
    """A scrape that has all requests: one is recorded when its answer is out, so a bit later."""
    deadline = time.monotonic() + 2.0
    while True:
        scrape = Scrape(gunicorn.metrics)
        if scrape.total(REQUESTS) >= total or time.monotonic() > deadline:
            return scrape
        time.sleep(0.02)


def sum_up(traffic, scrape):
    orders = orders_of(traffic)
    rows = [("requests that were answered", traffic.total, REQUESTS, {})]
    for status in sorted({status for _, _, status in traffic.answered}):
        sent = sum(n for (_, _, of), n in traffic.answered.items() if of == status)
        rows.append((f"  with status {status}", sent, HTTP, {"status": str(status)}))
    rows += [(f"orders of {kind}", orders[kind], ORDERS, {"kind": kind}) for kind in sorted(orders)]
    say()
    say("What the client has seen, and what the metrics say:")
    say()
    say(bold(f"{'':<30}{'client':>8}{'metrics':>9}"))
    for what, sent, name, labels in rows:
        say(f"{what:<30}{sent:>8}{scrape.total(name, **labels):>9.0f}")
    if traffic.unanswered:
        say(f"{'requests without an answer':<30}{traffic.unanswered:>8}")


def orders_of(traffic):
    """How many orders of each kind were confirmed."""
    orders = Counter()
    for (_, target, status), number in traffic.answered.items():
        path, _, kind = target.partition("?kind=")
        if path == "/fast" and status == 200:
            orders[kind] += number
    return orders


def report(gunicorn, traffic, scrape):
    """All of it for a program to read."""
    return {
        "application": gunicorn.application,
        "metrics": gunicorn.metrics,
        "answered": [
            {"method": method, "target": target, "status": status, "number": number}
            for (method, target, status), number in sorted(traffic.answered.items())
        ],
        "unanswered": traffic.unanswered,
        "orders": orders_of(traffic),
        "scrape": scrape.text,
    }


def run(gunicorn, arguments, over):
    gunicorn.wait_until_it_answers()
    first = Scrape(gunicorn.metrics)
    introduce(gunicorn)
    gunicorn.show_log = True
    if arguments.seconds is not None:
        timer = threading.Timer(arguments.seconds, over.set)
        timer.daemon = True
        timer.start()
    traffic = Traffic(gunicorn.application)
    try:
        watch(gunicorn, first, over)
    finally:
        traffic.end()
    scrape = last_scrape(gunicorn, traffic.total)
    sum_up(traffic, scrape)
    return report(gunicorn, traffic, scrape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: over.set())
    gunicorn = Gunicorn()
    try:
        told = run(gunicorn, arguments, over)
    except Ended:
        gunicorn.end()
        sys.exit("".join(["Gunicorn did not start, or has ended. It said:\n", *gunicorn.log]))
    finally:
        gunicorn.end()
    if arguments.json:
        say(json.dumps(told))


if __name__ == "__main__":
    main()
