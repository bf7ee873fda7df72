"""The real program on a real socket, serving what prometheus_client has written."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys

import pytest
import trustme
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

#: An application that records with prometheus_client's own multiprocess mode.
APPLICATION = """
from prometheus_client import Counter, Gauge, Histogram, values
jobs = Counter("jobs", "Jobs done.", ["q"])
jobs.labels("x").inc(3)
jobs.labels("größe").inc()
Gauge("depth", "Depth.", multiprocess_mode="max").set(7)
Histogram("took_seconds", "Time.", buckets=[1, 2]).observe(1.5)
# Counters of clients before 0.22 refuse such names.
values.ValueClass("counter", "dotted.name", "dotted.name_total", (), (), "Of the new sort.").inc(1)
"""


def environment(**more):
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PROMETHEUS_", "REDIS_", "GUNICORN_", "CLEANUP_", "SIDECAR_"))
    }
    return own | more


@pytest.fixture
def directory(tmp_path):
    """Pages that an application has recorded into."""
    path = tmp_path / "pages"
    path.mkdir()
    subprocess.run(
        [sys.executable, "-c", APPLICATION],
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(path)),
        check=True,
    )
    return path


class Server:
    """The program, and the port it serves."""

    def __init__(self, process, port, log):
        self.process, self.port, self._log = process, port, log
        self.pid = process.pid
        #: For clients that speak TLS.
        self.context = None

    def ask(self, path="/metrics", method="GET", **headers):
        """One request; gives status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        if self.context is not None:
            connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=20, context=self.context
            )
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def connect(self):
        """A connection to it, for TLS if that is set."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.context is not None:
            sock = self.context.wrap_socket(sock, server_hostname="localhost")
        return sock

    def value(self, name, **labels):
        """The value of a sample in a scrape, None if there is none."""
        for family in text_string_to_metric_families(self.ask()[2].decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    @property
    def log(self):
        return self._log.read_text()


@pytest.fixture
def start(tmp_path, directory):
    """Starts the program on a listening socket of ours; it is ended with the test."""
    started = []

    def start_server(*arguments, prefix=(), env=None):
        sock = socket.create_server(("127.0.0.1", 0))
        log = tmp_path / f"log{len(started)}"
        command = [*prefix, sys.executable, "-m", "gunicorn_prometheus_server"]
        with sock, open(log, "wb") as output:
            process = subprocess.Popen(
                [*command, "--fd", str(sock.fileno()), "--directory", directory, *arguments],
                pass_fds=[sock.fileno()],
                env=environment(**(env or {})),
                stdout=output,
                stderr=output,
            )
            started.append(Server(process, sock.getsockname()[1], log))
        return started[-1]

    yield start_server
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait()


@pytest.fixture
def server(start):
    return start()


class ByHand:
    """The program as somebody starts it who isn't the master."""

    def __init__(self, command, environment, log):
        self._log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, close_fds=False
            )

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)

    @property
    def log(self):
        return self._log.read_text()


@pytest.fixture
def by_hand(tmp_path):
    """Starts the program without arguments; it is ended with the test."""
    started = []

    def start_program(prefix=(), **env):
        command = [sys.executable, *prefix, "-m", "gunicorn_prometheus_server"]
        started.append(ByHand(command, environment(**env), tmp_path / f"hand{len(started)}"))
        return started[-1]

    yield start_program
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def run(tmp_path):
    """Runs the program where it ends by itself; gives its status and what it said."""

    def run_server(*arguments, **env):
        done = subprocess.run(
            [sys.executable, "-m", "gunicorn_prometheus_server", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
            env=environment(**env),
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run_server


class Certificates:
    """Files of certificates in a folder.

    ``server.crt``, ``server.key`` and ``both.pem`` are the server's; ``clients.crt`` is the
    authority of clients, also in the folder ``hashed``; ``other.key`` and ``encrypted.key`` are of
    no use.
    """

    def __init__(self, folder):
        self.folder = folder
        self._servers, self.clients = trustme.CA(), trustme.CA()
        self.renew()
        self.clients.cert_pem.write_to_path(folder / "clients.crt")
        (folder / "hashed").mkdir()
        self.clients.cert_pem.write_to_path(folder / "hashed" / "ca.pem")
        subprocess.run(["openssl", "rehash", folder / "hashed"], check=True)
        other = trustme.CA().issue_cert("other")
        other.private_key_pem.write_to_path(folder / "other.key")
        subprocess.run(
            [
                *("openssl", "pkey", "-in", folder / "other.key"),
                *("-aes256", "-passout", "pass:secret", "-out", folder / "encrypted.key"),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "nonsense.pem").write_text("nonsense")

    def renew(self):
        """Have another certificate of the server; gives its serial number."""
        issued = self._servers.issue_cert("localhost", "127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(self.folder / "server.crt")
        issued.private_key_pem.write_to_path(self.folder / "server.key")
        issued.private_key_and_cert_chain_pem.write_to_path(self.folder / "both.pem")
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    def context(self, *client, authority=None):
        """For a client that trusts the server and has a certificate for these names, if any."""
        context = ssl.create_default_context()
        self._servers.configure_trust(context)
        if client:
            (authority or self.clients).issue_cert(*client).configure_cert(context)
        return context

    @property
    def settings(self):
        """The settings, as variables, for plain TLS."""
        return {
            "PROMETHEUS_SSL_CERTFILE": str(self.folder / "server.crt"),
            "PROMETHEUS_SSL_KEYFILE": str(self.folder / "server.key"),
        }

    def web_config(self, text):
        """The setting, as a variable, for a web configuration file with that text."""
        (self.folder / "web.yml").write_text(text)
        return {"PROMETHEUS_WEB_CONFIG_FILE": str(self.folder / "web.yml")}


@pytest.fixture
def certificates(tmp_path):
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Certificates(folder)
