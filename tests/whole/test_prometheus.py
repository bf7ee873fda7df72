"""A real Prometheus, and its own opinion of what we expose."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gunicorn_prometheus_core.catalogue import FAMILIES

#: What promtool says of documented names, which stay as they are documented.
DOCUMENTED = {
    'gunicorn_worker_failed_requests counter metrics should have "_total" suffix',
    'gunicorn_worker_error_handling counter metrics should have "_total" suffix',
}
QUERIES = [
    # From the documents, as they are.
    "sum(gunicorn_worker_requests_total)",
    "rate(gunicorn_worker_request_duration_seconds_sum[5m])"
    " / rate(gunicorn_worker_request_duration_seconds_count[5m])",
    "gunicorn_worker_memory_bytes",
    "gunicorn_worker_cpu_percent",
    "sum by (endpoint) (rate(gunicorn_worker_failed_requests[5m]))",
    "sum by (worker_id) (rate(gunicorn_worker_error_handling[5m]))",
    "sum by (reason) (rate(gunicorn_master_worker_restart_total[5m]))",
    "histogram_quantile(0.95, rate(gunicorn_worker_request_size_bytes_bucket[5m]))",
    "histogram_quantile(0.99, rate(gunicorn_worker_request_duration_seconds_bucket[5m]))",
]


@pytest.fixture
def text_only(server) -> Iterator[object]:
    """Passes scrapes on, asking for the classic text whatever Prometheus asks for."""
    target: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with urllib.request.urlopen(target["url"], timeout=10) as response:
                body, content_type = response.read(), response.headers["Content-Type"]
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()

    def through(url: str) -> str:
        target["url"] = url
        return f"127.0.0.1:{proxy.server_port}"

    yield through
    proxy.shutdown()
    thread.join()
    proxy.server_close()


@pytest.mark.timeout(120)
def test_prometheus_scrapes_both_formats(server, tmp_path, wait, text_only, free_port):
    gunicorn = server("-w", "2").start()
    for _ in range(30):
        gunicorn.get("/")
    gunicorn.get("/fail")
    direct = f"127.0.0.1:{gunicorn.metrics_port}"
    jobs = {"openmetrics": direct, "text": text_only(f"http://{direct}/metrics")}
    configuration = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [target]}]}
            for name, target in jobs.items()
        ],
    }
    (tmp_path / "prometheus.json").write_text(json.dumps(configuration))
    port = free_port()
    command = [
        need("prometheus"),
        f"--config.file={tmp_path / 'prometheus.json'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = (tmp_path / "prometheus.log").open("w")
    prometheus = subprocess.Popen(command, stdout=log, stderr=log)

    def ask(query: str) -> list[dict[str, object]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return list(json.load(response)["data"]["result"])
        except OSError:
            return []

    def values(query: str) -> dict[str, float]:
        return {r["metric"].get("job", ""): float(r["value"][1]) for r in ask(query)}

    try:
        for _ in range(10):
            gunicorn.get("/")
        total = 1 + 30 + 1 + 10
        expected = dict.fromkeys(jobs, float(total))
        wait(
            lambda: values("sum by (job) (gunicorn_worker_requests_total)") == expected,
            lambda: (
                f"Prometheus has it all: {ask('up')} "
                f"{values('sum by (job) (gunicorn_worker_requests_total)')}"
            ),
            60,
        )
        assert values("up") == dict.fromkeys(jobs, 1.0)
        assert values("sum by (job) (app_hellos_total)") == dict.fromkeys(jobs, 40.0)
        assert values("sum by (job) (gunicorn_worker_failed_requests)") == dict.fromkeys(jobs, 1.0)
        for query in QUERIES:
            wait(lambda query=query: ask(query), f"an answer to {query}", 30)
    finally:
        prometheus.terminate()
        prometheus.wait(20)
        log.close()


def need(program: str) -> str:
    found = shutil.which(program)
    assert found, f"{program} is not installed; scripts/system-packages.sh installs it"
    return found


def test_promtool_has_nothing_to_say(server):
    gunicorn = server("-w", "1").start()
    gunicorn.get("/")
    gunicorn.get("/fail")
    text = gunicorn.scrape().text
    command = [need("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    said = {line for line in (done.stdout + done.stderr).splitlines() if line}
    assert said == DOCUMENTED


def test_openmetrics_is_valid(server):
    gunicorn = server("-w", "1").start()
    gunicorn.get("/")
    gunicorn.get("/fail")
    text = gunicorn.scrape(accept="application/openmetrics-text; version=1.0.0").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["gunicorn_worker_requests"].type == "counter"
    assert families["app_hellos"].samples[0].value == 1


def test_every_exposed_family_of_ours_is_in_the_catalogue(server):
    gunicorn = server("-w", "1").start()
    gunicorn.get("/")
    gunicorn.get("/fail")
    named = {
        line.split()[2]
        for line in gunicorn.scrape().text.splitlines()
        if line.startswith("# TYPE gunicorn")
    }
    assert named <= {family.name for family in FAMILIES}
    # These are about a storage that hosts share.
    named |= {
        "gunicorn_exporter_storage_up",
        "gunicorn_exporter_last_publish_timestamp_seconds",
        "gunicorn_exporter_publish_errors_total",
        "gunicorn_exporter_collect_errors_total",
    }
    # These are a sidecar's.
    named |= {family.name for family in FAMILIES if family.name.startswith("gunicorn_sidecar_")}
    # Everything is there from the first scrape on, but what nothing has happened for yet.
    waiting = {f.name for f in FAMILIES} - named
    assert waiting == {
        "gunicorn_worker_websockets_total",
        "gunicorn_worker_websockets_open",
        "gunicorn_dirty_workers",
        "gunicorn_worker_thread_wait_seconds",
        "gunicorn_worker_exits_total",
        "gunicorn_worker_last_exit_timestamp_seconds",
        "gunicorn_master_last_signal_timestamp_seconds",
        "gunicorn_worker_restart_total",
        "gunicorn_worker_restart_count_total",
        "gunicorn_master_worker_restart_count_total",
        "gunicorn_exporter_collector_errors_total",
        "gunicorn_exporter_keys_rejected_total",
    }
