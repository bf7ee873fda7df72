"""The page's files and the object that it shows, as a client gets them."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from prometheus_client import parser

STATUS = "/api/v1/status"
FILES = ["/", "/page/page.css", "/page/main.js"]
HOSTILE = "/<script>alert('x')</script>\"\u2028&amp;"

#: Records as a master and its workers do, then waits until it is told to end.
WORKER = """
import json, sys
from gunicorn_prometheus_core import catalogue as c
from gunicorn_prometheus_core.recording import sample_keys
from gunicorn_prometheus_storage_mmap.backend import MmapBackend

directory, role, cells = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
recorder = MmapBackend().activate(directory)
recorder.bind(role)
for kind, *rest in cells:
    if len(rest) == 1:
        keys = [json.dumps(key, sort_keys=True).encode() for key, _ in rest[0]]
        values = [value for _, value in rest[0]]
    else:
        family, labels, values = rest
        keys = sample_keys(getattr(c, family), labels)
    found = recorder.cells(kind, keys)
    for at, value in zip(found.at, values):
        found.page.view[at] = float(value)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def record(directory):
    """Starts processes that own a slot and have recorded these cells; they end with the test."""
    started = []

    def start(role, *cells):
        command = [sys.executable, "-c", WORKER, str(directory), role, json.dumps(cells)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env=os.environ, stdin=pipe, stdout=pipe, text=True, encoding="utf-8"
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def requests(method, endpoint, status, seconds, *buckets):
    """The cells of requests: their time, and how many there are in the first buckets."""
    labels = {"method": method, "endpoint": endpoint, "status": status}
    return "histogram", "HTTP_DURATION", labels, [seconds, *buckets]


def gauge(family, value, **labels):
    return "gauge_liveall", family, labels, [value]


def status_of(server):
    status, headers, body = server.ask(STATUS)
    assert status == 200
    assert headers["content-type"] == "application/json"
    return json.loads(body)


def samples(server):
    found = {}
    for family in parser.text_string_to_metric_families(server.ask()[2].decode()):
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found


def test_what_two_workers_and_their_master_have_recorded(record, server):
    first = record(
        "worker",
        requests("GET", "/", "200", 1.5, 3, 0, 0, 0, 0, 1),
        requests("GET", "/", "500", 0.25, 0, 1),
        gauge("WORKER_IN_PROGRESS", 1),
        gauge("WORKER_CAPACITY", 4),
        gauge("WORKER_STATE", 1000.5, state="running"),
    )
    second = record("worker", requests("POST", HOSTILE, "404", 0.125, 2))
    master = record(
        "master",
        ["counter", "WORKER_EXITS", {"worker_id": "0", "cause": "killed"}, [2]],
        ["gauge_max", "WORKER_EXIT_TIME", {"worker_id": "0", "cause": "killed"}, [900.5]],
        ["counter", "MASTER_SIGNALS", {"reason": "hup"}, [3]],
        ["counter", "MASTER_SIGNALS", {"reason": "ttin"}, [0]],
        ["gauge_max", "MASTER_SIGNAL_TIME", {"reason": "hup"}, [800]],
        ["gauge_livesum", "WORKERS_TARGET", {}, [2]],
        ["counter", "EXPORTER_DROPPED", {}, [7]],
    )
    failed = {"method": "GET", "endpoint": HOSTILE, "error_type": "KeyError"}
    record("worker", ["counter", "WORKER_FAILED", failed, [5]])
    now = status_of(server)

    assert now["version"] == 1
    assert len(now["bounds"]) == 16
    everything = now["requests"]
    assert (everything["count"], everything["seconds"]) == (7, 1.875)
    assert everything["statuses"] == {"200": 4, "404": 2, "500": 1}
    assert everything["buckets"] == [5, 1, 0, 0, 0, 1, *[0] * 11]

    zero, one, two = now["workers"]
    assert [worker["id"] for worker in now["workers"]] == ["0", "1", "2"]
    assert (zero["pid"], zero["alive"]) == (first.pid, True)
    assert (zero["state"], zero["since"]) == ("running", 1000.5)
    assert (zero["in_progress"], zero["capacity"], zero["websockets_open"]) == (1, 4, None)
    assert zero["requests"]["count"] == 5
    assert zero["exits"] == {"killed": {"count": 2, "last": 900.5, "type": "error"}}
    assert (one["pid"], one["requests"]["seconds"], one["exits"]) == (second.pid, 0.125, {})
    assert two["requests"]["count"] == 0

    assert now["workers_target"] == 2
    assert now["master"]["pid"] == master.pid
    assert now["master"]["signals"] == {"hup": {"count": 3, "last": 800}}
    assert now["master"]["exits"] == zero["exits"]
    assert [(route["endpoint"], route["count"]) for route in now["routes"]] == [
        ("/", 5),
        (HOSTILE, 2),
    ]
    assert now["exceptions"] == [{**failed, "count": 5}]
    assert now["storage"]["backend"] == "mmap"
    assert (now["storage"]["up"], now["storage"]["series_dropped"]) == (None, 7)

    told = samples(server)
    name = "gunicorn_http_request_duration_seconds"
    assert everything["count"] == sum(
        value for (sample, *_), value in told.items() if sample == f"{name}_count"
    )
    for worker in now["workers"][:2]:
        own = "gunicorn_worker_requests_total", ("worker_id", worker["id"])
        assert worker["requests"]["count"] == told[own]


def test_a_worker_that_is_gone(record, server, until):
    process = record("worker", requests("GET", "/", "200", 1, 1), gauge("WORKER_IN_PROGRESS", 1))
    assert status_of(server)["workers"][0]["alive"] is True
    process.kill()
    process.wait()
    until(lambda: status_of(server)["workers"][0]["alive"] is False)
    (worker,) = status_of(server)["workers"]
    assert (worker["state"], worker["pid"], worker["started"]) == ("stopped", None, None)
    assert worker["in_progress"] is None
    assert worker["requests"]["count"] == 1


def test_of_many_routes_those_that_matter(record, server):
    slow = [requests("GET", f"/slow{n}", "200", 10 + n, 1) for n in range(140)]
    failing = [requests("GET", f"/failing{n}", "500", 0.001, 1 + n) for n in range(140)]
    record("worker", *slow, *failing)
    now = status_of(server)
    assert now["routes_left_out"] == 180
    assert len(now["routes"]) == 100
    given = {route["endpoint"] for route in now["routes"]}
    assert {f"/slow{n}" for n in range(90, 140)} <= given
    assert {f"/failing{n}" for n in range(90, 140)} <= given
    assert now["requests"]["count"] == 140 + sum(range(1, 141))


def test_processes_that_recorded_with_other_buckets(record, server):
    record("worker", requests("GET", "/", "200", 1, 2))
    name = "gunicorn_http_request_duration_seconds"
    labels = {"method": "GET", "endpoint": "/", "status": "200"}
    cells = [
        [[name, f"{name}_bucket", {**labels, "le": bound}, "Time"], number]
        for bound, number in (("0.123", 4), ("+Inf", 3))
    ]
    record("worker", ["histogram", cells])
    now = status_of(server)
    assert 0.123 in now["bounds"]
    assert len(now["bounds"]) == 17
    assert now["requests"]["count"] == 9
    assert [worker["requests"]["count"] for worker in now["workers"]] == [2, 7]
    assert now["requests"]["buckets"][now["bounds"].index(0.123)] == 4
    assert now["requests"]["buckets"][-1] == 3


def test_numbers_that_json_does_not_have_are_null(record, server):
    record("worker", gauge("WORKER_IN_PROGRESS", "nan"), gauge("WORKER_CAPACITY", "inf"))
    (worker,) = status_of(server)["workers"]
    assert (worker["in_progress"], worker["capacity"]) == (None, None)


def test_without_any_request_or_worker(server):
    now = status_of(server)
    assert (now["workers"], now["routes"], now["exceptions"]) == ([], [], [])
    assert now["requests"] == {"count": 0, "seconds": 0, "buckets": [0] * 17, "statuses": {}}
    assert (now["workers_target"], now["master"]["pid"]) == (None, None)


def test_looking_is_not_scraping(server, until):
    for path in (STATUS, *FILES):
        server.ask(path)
    assert samples(server)["gunicorn_exporter_scrapes_total",] == 1
    until(lambda: status_of(server)["exporter"]["scrapes"] == 1)


def test_it_is_computed_twice_a_second_at_most(server, until):
    times = []
    until(lambda: times.append(status_of(server)["time"]) or len(set(times)) == 3)
    first, second, third = sorted(set(times))
    assert min(second - first, third - second) >= 0.499
    assert len(times) > 3


def test_without_its_directory_it_says_so(server, directory, until):
    assert status_of(server)
    shutil.rmtree(directory)
    directory.touch()
    until(lambda: server.ask(STATUS)[0] == 503)
    status, headers, body = server.ask(STATUS)
    assert (status, headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert str(directory).encode() in body


def test_the_object_is_compressed_if_that_is_accepted(server):
    _, headers, body = server.ask(STATUS, Accept_Encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["version"] == 1
    assert headers["cache-control"] == "no-store"


# Files


class References(HTMLParser):
    """What a page refers to, and what it has of its own where a strict policy forbids that."""

    def __init__(self):
        super().__init__()
        self.links, self.forbidden, self._open = [], [], ""

    def handle_starttag(self, tag, attributes):
        self._open = tag
        for name, value in attributes:
            if name in ("href", "src") and not value.startswith("data:"):
                self.links.append(value)
            if name == "style" or name.startswith("on"):
                self.forbidden.append((tag, name))

    def handle_data(self, data):
        if self._open in ("script", "style") and data.strip():
            self.forbidden.append((self._open, data))


def test_the_page_refers_only_to_what_is_here_and_relatively(server):
    page = References()
    page.feed(server.ask("/")[2].decode())
    assert page.forbidden == []
    assert {"page/page.css", "page/main.js", "metrics"} <= set(page.links)
    modules = ["page/main.js"]
    for module in modules:
        source = server.ask(f"/{module}")[2].decode()
        assert "innerHTML" not in source
        imported = re.findall(r'from "\./(.+?)"', source)
        modules += {f"page/{name}" for name in imported} - set(modules)
    assert len(modules) > 3
    for link in {*page.links, *modules}:
        assert not link.startswith(("/", "http"))
        assert server.ask(f"/{link}")[0] == 200


@pytest.mark.parametrize("path", [*FILES, STATUS])
def test_browsers_are_told_to_be_strict(server, path):
    status, headers, _ = server.ask(path)
    assert status == 200
    policy = headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in part or "*" in part for part in policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "media"),
    [("/", "text/html"), ("/page/page.css", "text/css"), ("/page/main.js", "text/javascript")],
)
def test_a_file_is_sent_once(server, path, media):
    status, headers, body = server.ask(path, Accept_Encoding="gzip")
    assert status == 200
    assert headers["content-type"] == f"{media}; charset=utf-8"
    assert gzip.decompress(body) == server.ask(path)[2]
    assert headers["cache-control"] == "no-cache"
    tag = headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        status, headers, body = server.ask(path, If_None_Match=known)
        assert (status, body, headers["etag"]) == (304, b"", tag)
        assert "content-length" not in headers
    assert server.ask(path, If_None_Match='"other"')[0] == 200


@pytest.mark.parametrize("path", [*FILES, STATUS])
def test_head_is_get_without_the_body(server, path):
    _, headers, body = server.ask(path, "HEAD")
    assert body == b""
    assert int(headers["content-length"]) > 100
    assert server.ask(path, "POST")[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/index.html", "/page/../status.py", "/page/%2e%2e/x", "/api/v1/", "/api"],
)
def test_there_is_nothing_else(server, path):
    assert server.ask(path)[0] == 404


def test_it_can_be_switched_off(start):
    server = start(env={"GUNICORN_PROMETHEUS_PAGE": "false"})
    status, headers, body = server.ask("/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"script" not in body
    assert b'href="metrics"' in body
    for path in (STATUS, *FILES[1:]):
        assert server.ask(path)[0] == 404
    assert server.ask()[0] == 200
