"""The metrics endpoint of a whole server: who gets in, where it listens, and the sidecar."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import bcrypt
import psutil
import pytest
import trustme

COMMAND = str(Path(sysconfig.get_path("scripts"), "gunicorn-prometheus-exporter"))
HELLOS = "app_hellos_total"


class Prometheus:
    """A real one, that scrapes these jobs every second."""

    def __init__(self, folder, port, jobs):
        program = shutil.which("prometheus")
        assert program, "scripts/system-packages.sh installs it"
        self._url = f"http://127.0.0.1:{port}/api/v1/query?query="
        configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
        (folder / "prometheus.json").write_text(json.dumps(configuration))
        command = [
            program,
            f"--config.file={folder / 'prometheus.json'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with open(folder / "prometheus.log", "w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def values(self, query):
        """The values by job; nothing while it can't be asked."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(self._url + urllib.parse.quote(query), timeout=10) as response,
        ):
            found = json.load(response)["data"]["result"]
            return {one["metric"].get("job", ""): float(one["value"][1]) for one in found}
        return {}

    def end(self):
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def authority(tmp_path):
    """Certificates: of the server, of a client, and the authority of both, as files."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("localhost", "prometheus.example"):
        issued = made.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.crt")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    return made


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("authority")
def test_prometheus_scrapes_with_a_certificate_and_with_a_password(
    server, wait, free_port, tmp_path
):
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users:\n  prometheus: {hashed}\n")
    mutual = server(
        *("-w", "1"),
        PROMETHEUS_SSL_CERTFILE=str(tmp_path / "localhost.crt"),
        PROMETHEUS_SSL_KEYFILE=str(tmp_path / "localhost.key"),
        PROMETHEUS_SSL_CLIENT_CAFILE=str(tmp_path / "ca.pem"),
        PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED="true",
    )
    users = server("-w", "1", PROMETHEUS_WEB_CONFIG_FILE=str(tmp_path / "web.yml"))
    for gunicorn in (mutual, users):
        gunicorn.start(ready=False)
        wait(gunicorn.answers, lambda one=gunicorn: f"the application answers\n{one.log}")
        for _ in range(3):
            gunicorn.get("/")
    assert f"https://127.0.0.1:{mutual.metrics_port}/metrics" in mutual.log
    assert f"http://127.0.0.1:{users.metrics_port}/metrics" in users.log
    tls = {
        "ca_file": str(tmp_path / "ca.pem"),
        "cert_file": str(tmp_path / "prometheus.example.crt"),
        "key_file": str(tmp_path / "prometheus.example.key"),
        "server_name": "localhost",
    }
    without = {name: tls[name] for name in ("ca_file", "server_name")}
    password = {"username": "prometheus", "password": "secret"}

    def job(name, gunicorn, **more):
        target = f"127.0.0.1:{gunicorn.metrics_port}"
        return {"job_name": name, "static_configs": [{"targets": [target]}], **more}

    prometheus = Prometheus(
        tmp_path,
        free_port(),
        [
            job("certificate", mutual, scheme="https", tls_config=tls),
            job("no certificate", mutual, scheme="https", tls_config=without),
            job("password", users, basic_auth=password),
            job("wrong password", users, basic_auth=password | {"password": "wrong"}),
        ],
    )
    try:
        expected = {"certificate": 1, "no certificate": 0, "password": 1, "wrong password": 0}
        wait(lambda: prometheus.values("up") == expected, lambda: str(prometheus.values("up")), 60)
        wait(
            lambda: (
                prometheus.values("sum by (job) (app_hellos_total)")
                == {"certificate": 3, "password": 3}
            ),
            "it has it all",
            30,
        )
    finally:
        prometheus.end()


@pytest.mark.compat
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PROMETHEUS_SSL_CERTFILE": "/nowhere"}, "PROMETHEUS_SSL_CERTFILE='/nowhere'"),
        ({"PROMETHEUS_WEB_CONFIG_FILE": "/nowhere"}, "PROMETHEUS_WEB_CONFIG_FILE='/nowhere'"),
        ({"PROMETHEUS_BIND_ADDRESS": "unix:here"}, "PROMETHEUS_BIND_ADDRESS='unix:here'"),
    ],
)
def test_what_cannot_be_served_ends_the_start_with_a_line(server, environment, words):
    gunicorn = server("-w", "1", **environment)
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(30) == 1
    (line,) = [line for line in gunicorn.log.splitlines() if words in line]
    assert "[ERROR]" in line
    assert "Traceback" not in gunicorn.log


@pytest.mark.usefixtures("authority")
def test_a_key_that_only_root_can_read_is_refused_where_workers_are_others(
    server, tmp_path, open_to_everybody
):
    """The exporter process runs as they do."""
    assert os.geteuid() == 0, "changing the user needs root; CI runs as root"
    open_to_everybody([sys.executable, sys.base_prefix + "/bin", __file__, str(tmp_path / "x")])
    (tmp_path / "localhost.crt").chmod(0o644)
    (tmp_path / "localhost.key").chmod(0o600)
    gunicorn = server(
        *("-w", "1", "--user", "nobody", "--group", "nogroup"),
        PROMETHEUS_SSL_CERTFILE=str(tmp_path / "localhost.crt"),
        PROMETHEUS_SSL_KEYFILE=str(tmp_path / "localhost.key"),
    )
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(30) == 1
    assert "localhost.key' (from the environment): can't be read: Permission denied" in gunicorn.log


def scrape_unix(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as file:
            return file.read()


class Scrapers:
    """Scrape all addresses from several threads; no scrape may be refused or be cut off."""

    def __init__(self, *scrapes):
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in scrapes * 3]
        self.number, self.failures = 0, []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        if kind is None:
            assert not self.failures
            assert self.number > 10

    def _run(self, scrape):
        while not self._ended.is_set():
            try:
                assert scrape()
                self.number += 1
            except (AssertionError, OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))


@pytest.mark.compat
def test_an_upgrade_hands_on_every_address_and_refuses_no_scrape(server, wait, free_port, tmp_path):
    other, path = free_port(), tmp_path / "metrics.sock"
    gunicorn = server("-w", "1")
    listening = f"127.0.0.1,127.0.0.1:{other},unix:{path}"
    gunicorn.environment["PROMETHEUS_BIND_ADDRESS"] = listening
    gunicorn.start()

    def scrape_other():
        with urllib.request.urlopen(f"http://127.0.0.1:{other}/metrics", timeout=30) as response:
            return response.read()

    with Scrapers(gunicorn.scrape, scrape_other, lambda: scrape_unix(path)):
        old = gunicorn.process
        gunicorn.send(signal.SIGUSR2)
        (new,) = wait(
            lambda: [pid for pid in gunicorn.workers() if gunicorn.workers(pid)],
            lambda: f"there is a new master with its worker\n{gunicorn.log}",
            30,
        )
        gunicorn.exporter(new)
        old.terminate()
        old.wait(60)
        assert path.exists()
        for _ in range(5):
            assert gunicorn.scrape().sum("gunicorn_workers") >= 1
            assert scrape_other()
            assert scrape_unix(path).startswith(b"HTTP/1.1 200 ")
    family = [psutil.Process(new), *psutil.Process(new).children(recursive=True)]
    os.kill(new, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert not path.exists()


#: Becomes Gunicorn, with a socket for the application as systemd would have opened it.
ACTIVATED = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(sock.fileno(), 100)
sock.close()
os.dup2(100, 3, inheritable=True)
os.close(100)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_that_systemd_opens_for_gunicorn_are_the_applications(server, free_port):
    gunicorn = server("-w", "1")
    gunicorn.prefix = (sys.executable, "-c", ACTIVATED, str(gunicorn.port))
    gunicorn.start()
    gunicorn.get("/")
    gunicorn.wait_counted(HELLOS, 1)


# The sidecar


def command(*arguments):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.strip() + done.stderr.strip()


@pytest.fixture
def sidecar():
    """Starts sidecars, by a command that may run them elsewhere; they end with the test."""
    started = []

    def start(environment, *arguments, prefix=(), output=None):
        process = subprocess.Popen(
            [*prefix, COMMAND, "sidecar", *map(str, arguments)],
            env={**os.environ, **environment},
            stderr=output,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()


def scraped(port):
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response,
    ):
        return response.read().decode()
    return ""


def test_a_sidecar_in_another_container(
    server, sidecar, wait, free_port, tmp_path, open_to_everybody
):
    """Other pids, another user of the same group, and a directory that can only be read."""
    assert os.geteuid() == 0, "namespaces need root; CI runs as root"
    pages = tmp_path / "pages"
    pages.mkdir()
    group = pwd.getpwnam("daemon").pw_gid
    os.chown(pages, 0, group)
    pages.chmod(0o2750)
    open_to_everybody([sys.executable, sys.base_prefix + "/bin", __file__, str(pages)])
    gunicorn = server(
        *("-w", "2", "--group", "daemon"),
        SIDECAR_MODE="true",
        PROMETHEUS_MULTIPROC_DIR=str(pages),
    )
    gunicorn.start(ready=False)
    wait(gunicorn.answers, lambda: f"the application answers\n{gunicorn.log}")
    for _ in range(7):
        gunicorn.get("/")
    port = free_port()
    elsewhere = (
        f"mount --bind {pages} {pages} && mount -o remount,bind,ro {pages} && "
        f'exec setpriv --reuid=nobody --regid={group} --clear-groups "$@"'
    )
    sidecar(
        {"PROMETHEUS_MULTIPROC_DIR": str(pages), "PROMETHEUS_BIND_ADDRESS": "127.0.0.1"},
        *("--port", port),
        prefix=(
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", elsewhere, "sh"),
        ),
    )
    text = wait(lambda: scraped(port), "the sidecar serves")
    assert "\napp_hellos_total 7.0\n" in text
    assert "\ngunicorn_workers 2.0\n" in text
    assert "\ngunicorn_exporter_scrapes_total" in text
    # What has a worker's pid there is somebody else.
    assert "\ngunicorn_worker_memory_bytes" not in text
    assert "\ngunicorn_sidecar_multiproc_files_count" in text
    assert "\ngunicorn_sidecar_uptime_seconds" in text
    assert not [name for name in os.listdir(pages) if "exporter" in name]
    assert command("health", "--port", port, "--ready") == (0, f"ready at 0.0.0.0:{port}")
    (worker, _) = gunicorn.workers()
    os.kill(worker, signal.SIGKILL)
    wait(lambda: 'cause="killed"' in scraped(port), "the sidecar sees that a worker was killed")


def test_the_command_leaves_variables_alone_and_serves_what_arguments_say(
    server, sidecar, wait, free_port, tmp_path
):
    pages = tmp_path / "pages"
    gunicorn = server("-w", "1", SIDECAR_MODE="true", PROMETHEUS_MULTIPROC_DIR=str(pages))
    gunicorn.start(ready=False)
    wait(gunicorn.answers, "the application answers")
    port = free_port()
    environment = {"PROMETHEUS_MULTIPROC_DIR": "/elsewhere", "SIDECAR_MODE": "true"}
    process = sidecar(environment, "--port", port, "--bind", "127.0.0.1", "--multiproc-dir", pages)
    assert "\ngunicorn_workers 1.0\n" in wait(lambda: scraped(port), "the sidecar serves")
    own = psutil.Process(process.pid).environ()
    assert {name: own[name] for name in environment} == environment
    assert "PROMETHEUS_METRICS_PORT" not in own
    process.terminate()
    assert process.wait(20) == 0
    status, line = command("health", "--port", port, "--bind", "127.0.0.1")
    assert status == 1
    assert line.startswith(f"unwell: 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sidecar",), "PROMETHEUS_MULTIPROC_DIR is not set: nothing to serve"),
        (("sidecar", "--port", "http"), "--port='http' (from the command line): must be"),
        (("sidecar", "--update-interval", "0"), "--update-interval='0' (from the command line)"),
        (("standalone", "--bind", "unix:x"), "--bind='unix:x' (from the command line)"),
        (("health", "--web.config.file", "/nowhere"), "--web.config.file='/nowhere'"),
    ],
)
def test_arguments_that_cannot_be_used_are_one_line(arguments, words):
    status, line = command(*arguments)
    assert status == 2
    assert words in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("ended", [False, True], ids=["it is freed", "it is told to end"])
def test_a_sidecar_waits_for_an_address_that_its_server_still_holds(
    sidecar, wait, free_port, tmp_path, ended
):
    port, log = free_port(), tmp_path / "log"
    with socket.create_server(("127.0.0.1", port)), log.open("w") as output:
        process = sidecar(
            {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            *("--bind", "127.0.0.1", "--port", port),
            output=output,
        )
        wait(lambda: "trying again until it works" in log.read_text(), "it has tried")
        if ended:
            process.terminate()
            assert process.wait(20) == 0
            return
    wait(lambda: "gunicorn_sidecar_uptime_seconds" in scraped(port), log.read_text)
    process.terminate()
    assert process.wait(20) == 0
    assert log.read_text().count("trying again") == 1


def test_standalone_serves_what_any_process_records(sidecar, wait, free_port, tmp_path):
    pages, port = tmp_path / "pages", free_port()
    process = subprocess.Popen(
        [COMMAND, "standalone", "--port", str(port), "--bind", "127.0.0.1"],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(pages)},
    )
    try:
        wait(lambda: scraped(port), "it serves")
        code = "from prometheus_client import Counter\nCounter('jobs', 'help').inc(3)"
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(pages)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        wait(lambda: "\njobs_total 3.0\n" in scraped(port), "it serves what was recorded")
    finally:
        process.terminate()
        assert process.wait(20) == 0
