import gzip
import shutil
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def samples(body, parse=parser.text_string_to_metric_families):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


#: Parsers of prometheus_client before 0.22 can't read names in quotation marks.
QUOTED = pytest.mark.newest


def test_the_metrics_of_the_application_are_served(server):
    status, headers, body = server.ask()
    assert status == 200
    assert headers["content-type"] == TEXT
    assert headers["vary"] == "Accept, Accept-Encoding"
    assert int(headers["content-length"]) == len(body)
    assert "server" not in headers
    found = samples(body)
    assert found["jobs_total", "x"] == 3
    assert found["jobs_total", "größe"] == 1
    assert found["depth",] == 7
    assert found["took_seconds_bucket", "2.0"] == 1
    assert found["dotted_name_total",] == 1


def test_a_scrape_shows_itself(server):
    counts = [samples(server.ask()[2])["gunicorn_exporter_scrapes_total",] for _ in range(3)]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/plain;version=0.0.4", TEXT),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            marks=QUOTED,
        ),
        pytest.param(
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            marks=QUOTED,
        ),
        ("application/json", TEXT),
    ],
)
def test_the_format_is_the_accepted_one(server, accept, content_type):
    status, headers, body = server.ask(Accept=accept)
    assert status == 200
    assert headers["content-type"] == content_type
    openmetrics = content_type.startswith("application/openmetrics")
    assert body.endswith(b"# EOF\n") is openmetrics
    parse = openmetrics_parser if openmetrics else parser
    found = samples(body, parse.text_string_to_metric_families)
    name = "dotted.name_total" if "allow-utf-8" in content_type else "dotted_name_total"
    assert found[name,] == 1


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("*;q=0, gzip", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip; q = 0", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("x-gzipped", False),
        ("gzip;q=nonsense", False),
    ],
)
def test_the_body_is_compressed_if_that_is_accepted(server, accepted, compressed):
    _, headers, body = server.ask(Accept_Encoding=accepted)
    assert (headers["content-encoding"] == "gzip") is compressed
    text = gzip.decompress(body) if compressed else body
    assert samples(text)["jobs_total", "x"] == 3


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name[]=jobs_total", {"jobs_total"}),
        ("name%5B%5D=jobs_total&name[]=depth", {"jobs_total", "depth"}),
        ("name[]=dotted.name_total", {"dotted_name_total"}),
        ("name[]=missing", set()),
        ("other=1&name[]=took_seconds_sum", {"took_seconds_sum"}),
    ],
)
def test_names_leave_the_samples_that_have_one_of_them(server, query, names):
    status, _, body = server.ask(f"/metrics?{query}")
    assert status == 200
    assert {name for name, *_ in samples(body)} == names


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/", "/missing"])
def test_head_is_get_without_the_body(server, path):
    got = server.ask(path)
    head = server.ask(path, "HEAD")
    assert head[0] == got[0]
    assert head[1]["content-type"] == got[1]["content-type"]
    assert int(head[1]["content-length"]) > 0
    assert head[2] == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/metrics", "/missing"])
def test_other_methods_are_not_allowed(server, method, path):
    status, headers, _ = server.ask(path, method)
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/-/", "/../etc/passwd", "/%00"])
def test_other_paths_are_not_found(server, path):
    status, _, body = server.ask(path)
    assert status == 404
    assert b"/metrics" in body


def test_the_front_page_leads_to_the_metrics(server):
    status, headers, body = server.ask("/")
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b'href="metrics"' in body


def test_healthy_and_ready(server):
    assert server.ask("/-/healthy")[::2] == (200, b"healthy\n")
    assert server.ask("/-/ready")[::2] == (200, b"ready\n")


def test_without_its_directory_it_is_healthy_but_not_ready(server, directory):
    assert server.ask()[0] == 200
    shutil.rmtree(directory)
    directory.touch()  # so that it can't be made again
    for _ in range(2):
        status, _, body = server.ask()
        assert status == 503
        assert str(directory).encode() in body
        status, _, body = server.ask("/-/ready")
        assert status == 503
        assert str(directory).encode() not in body, "everybody may ask that"
    assert server.ask("/-/healthy")[0] == 200
    assert server.log.count("scrape failed") == 1


def test_many_clients_at_once_are_all_answered(server):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.ask(Accept_Encoding="gzip"), range(64)))
    assert {status for status, *_ in answers} == {200}
    last = max(
        samples(gzip.decompress(body))["gunicorn_exporter_scrapes_total",] for *_, body in answers
    )
    assert last == 64


def test_clients_that_are_silent_or_leave_hold_up_nobody(server):
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for n, sock in enumerate(silent):
        if n % 2:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[: n + 1])
    leaver = socket.create_connection(("127.0.0.1", server.port))
    leaver.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leaver.close()
    assert server.ask()[0] == 200
    for sock in silent:
        sock.close()


def test_a_connection_serves_more_than_one_scrape(server):
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        file = sock.makefile("rb")
        for _ in range(3):
            sock.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            while file.readline() != b"\r\n":
                pass
            assert file.readline() == b"healthy\n"


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"nonsense\r\n\r\n", b"\0" * 1000]
)
def test_what_is_no_http_is_refused_and_serving_goes_on(server, garbage):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(garbage)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            assert not file.read().startswith(b"HTTP/1.1 200")
    assert server.ask()[0] == 200


def test_a_collector_of_a_third_party_is_served_and_a_failing_one_is_not(start, tmp_path):
    info = tmp_path / "site" / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gunicorn_prometheus.collectors]\n"
        "good = theirs:Good\nbad = theirs:Bad\nmissing = not_there:Collector\n"
    )
    (tmp_path / "site" / "theirs.py").write_text(
        "from prometheus_client import Metric\n"
        "class Good:\n"
        "    def collect(self, processes):\n"
        "        metric = Metric('theirs', 'help', 'gauge')\n"
        "        metric.add_sample('theirs', {}, 42)\n"
        "        return [metric]\n"
        "class Bad:\n"
        "    def collect(self, processes):\n"
        "        raise RuntimeError('no luck')\n"
    )
    server = start(env={"PYTHONPATH": str(tmp_path / "site")})
    for _ in range(3):
        found = samples(server.ask()[2])
        assert found["theirs",] == 42
        assert found["jobs_total", "x"] == 3
    assert found["gunicorn_exporter_collector_errors_total", "bad"] == 2
    assert server.log.count("collector bad failed") == 1
    assert found["gunicorn_exporter_collector_errors_total", "missing"] == 1
    assert server.log.count("collector missing could not be loaded") == 1


def test_a_corrupt_page_is_counted_and_costs_only_itself(server, directory):
    server.ask()
    (directory / "counter_4711.db").write_bytes(b"\xff" * 64)
    found = samples(server.ask()[2])
    assert found["jobs_total", "x"] == 3
    found = samples(server.ask()[2])
    assert found["gunicorn_exporter_pages_quarantined_total",] == 1
    assert (directory / "counter_4711.db.corrupt").exists()
