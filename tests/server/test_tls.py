"""Real handshakes: who gets in, what is spoken, and certificates that change."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess

import pytest
import trustme

MUTUAL = (
    "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
    "  client_ca_file: clients.crt\n  client_auth_type: {policy}\n"
)
REFUSED = "gunicorn_exporter_refused_total"


@pytest.fixture
def tls(start, certificates):
    """A server that speaks TLS, and a client that trusts it."""
    server = start(env=certificates.settings)
    server.context = certificates.context()
    return server


def refused(server, context):
    """Whether a client of that context is refused."""
    server.context, before = context, server.context
    try:
        return server.ask()[0] and False
    except (ssl.SSLError, ConnectionError):
        return True
    finally:
        server.context = before


def test_metrics_are_served_by_tls(tls):
    status, _, body = tls.ask()
    assert status == 200
    assert b"jobs_total" in body
    with tls.connect() as sock:
        assert sock.version() == "TLSv1.3"


def test_http1_is_what_is_agreed_on(tls):
    tls.context.set_alpn_protocols(["h2", "http/1.1"])
    with tls.connect() as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
    assert tls.ask()[0] == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_12_are_refused(tls, certificates, version):
    old = certificates.context()
    old.minimum_version = version
    old.maximum_version = version
    with contextlib.suppress(ssl.SSLError):
        old.set_ciphers("ALL:@SECLEVEL=0")
    assert refused(tls, old)
    assert tls.ask()[0] == 200


def test_version_12_is_not(tls):
    tls.context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert tls.ask()[0] == 200


def test_http_at_the_port_for_tls_is_told_so(tls):
    tls.context, context = None, tls.context
    status, _, body = tls.ask()
    assert status == 400
    assert b"use https" in body
    tls.context = context
    assert tls.value(REFUSED, reason="handshake") == 1


@pytest.mark.long
def test_a_large_answer_arrives_whole(start, certificates, directory):
    code = "from prometheus_client import Gauge\ng = Gauge('many', 'x' * 100, ['a'])\n"
    code += "for n in range(40_000): g.labels('x' * 50 + str(n)).set(n)\n"
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    subprocess.run([os.sys.executable, "-c", code], env=environment, check=True)
    plain = start()
    tls = start(env=certificates.settings)
    tls.context = certificates.context()
    bodies = [server.ask("/metrics?name[]=many")[2] for server in (plain, tls)]
    assert len(bodies[0]) > 3_000_000
    assert bodies[0] == bodies[1]


# Clients' certificates


@pytest.fixture
def mutual(start, certificates):
    """Starts a server that wants certificates of clients."""

    def start_server(policy="RequireAndVerifyClientCert", more=""):
        server = start(env=certificates.web_config(MUTUAL.format(policy=policy) + more))
        server.context = certificates.context("prometheus.example")
        return server

    return start_server


def test_without_a_certificate_nobody_gets_in_where_one_is_required(mutual, certificates):
    server = mutual()
    assert server.ask()[0] == 200
    assert refused(server, certificates.context())
    assert refused(server, certificates.context("prometheus.example", authority=trustme.CA()))
    assert server.value(REFUSED, reason="handshake") == 2


def test_by_settings_it_is_the_same(start, certificates):
    more = {
        "PROMETHEUS_SSL_CLIENT_CAPATH": str(certificates.folder / "hashed"),
        "PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED": "true",
    }
    server = start(env=certificates.settings | more)
    server.context = certificates.context("prometheus.example")
    assert server.ask()[0] == 200
    assert refused(server, certificates.context())


def test_where_it_is_not_required_it_still_has_to_be_valid(mutual, certificates):
    server = mutual("VerifyClientCertIfGiven")
    assert server.ask()[0] == 200
    assert not refused(server, certificates.context())
    assert refused(server, certificates.context("prometheus.example", authority=trustme.CA()))


def test_only_the_allowed_names_get_in(mutual, certificates):
    names = "prometheus.example, 192.0.2.1, '2001:db8::1', 'admin@example.org'"
    allowed = f"  client_allowed_sans: [{names}]\n"
    server = mutual(more=allowed)
    assert server.ask()[0] == 200
    assert not refused(server, certificates.context("192.0.2.1"))
    assert not refused(server, certificates.context("2001:db8::1"))
    assert not refused(server, certificates.context("other.example", "admin@example.org"))
    assert refused(server, certificates.context("other.example"))
    assert refused(server, certificates.context("sub.prometheus.example"))
    assert server.value(REFUSED, reason="certificate") == 2


# Changes


def serial(server):
    with server.connect() as sock:
        encoded = sock.getpeercert(binary_form=True)
    from cryptography import x509

    return x509.load_der_x509_certificate(encoded).serial_number


def test_a_renewed_certificate_is_used_without_a_restart(tls, certificates, until):
    before = serial(tls)
    after = certificates.renew()
    assert after != before
    until(lambda: serial(tls) == after)
    assert tls.value("gunicorn_exporter_access_errors_total") == 0
    assert tls.log.count("have changed and are in force") == 1


def test_a_broken_one_is_not_and_that_is_said_once_and_counted(tls, certificates, until):
    before = serial(tls)
    key = certificates.folder / "server.key"
    good = key.read_text()
    key.write_text("nonsense")
    until(lambda: serial(tls) and "holds no private key" in tls.log)
    for _ in range(3):
        assert serial(tls) == before
    assert tls.value("gunicorn_exporter_access_errors_total") == 1
    assert tls.log.count("what was read before stays in force") == 1
    key.write_text(good)
    until(lambda: serial(tls) and "have changed and are in force" in tls.log)
    after = certificates.renew()
    until(lambda: serial(tls) == after)
    assert tls.value("gunicorn_exporter_access_errors_total") == 1


def test_certificates_can_be_replaced_through_a_link(start, certificates, until):
    """As Kubernetes does with secrets."""
    folder = certificates.folder
    for version in ("1", "2"):
        (folder / version).mkdir()
        for name in ("server.crt", "server.key"):
            (folder / version / name).write_bytes((folder / name).read_bytes())
        last = certificates.renew()
    for name in ("server.crt", "server.key"):
        (folder / "2" / name).write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(f"current/{name}")
    (folder / "current").symlink_to("1")
    server = start(env=certificates.settings)
    server.context = certificates.context()
    assert serial(server) != last
    (folder / "next").symlink_to("2")
    (folder / "next").rename(folder / "current")
    until(lambda: serial(server) == last)


def test_a_changed_web_configuration_is_in_force_for_who_connects(start, certificates, until):
    """From plain HTTP to TLS, even."""
    server = start(env=certificates.web_config(""))
    assert server.ask()[0] == 200
    certificates.web_config("tls_server_config:\n  cert_file: server.crt\n  key_file: nowhere\n")
    until(lambda: server.ask()[0] == 200 and "can't be read" in server.log)
    # The file that was missing is now where it was looked for.
    (certificates.folder / "nowhere").write_text((certificates.folder / "server.key").read_text())

    def speaks_tls():
        server.context = certificates.context()
        with contextlib.suppress(ssl.SSLError):
            return server.ask()[0] == 200
        return False

    until(speaks_tls)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PROMETHEUS_SSL_KEYFILE": "/nowhere"}, "PROMETHEUS_SSL_KEYFILE='/nowhere'"),
        ({"PROMETHEUS_WEB_CONFIG_FILE": "/nowhere"}, "PROMETHEUS_WEB_CONFIG_FILE='/nowhere'"),
        (
            {"PROMETHEUS_SSL_CLIENT_CAFILE": "/nowhere"},
            "needs PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED",
        ),
    ],
)
def test_what_cannot_be_used_ends_the_start(run, directory, certificates, change, words):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    status, said = run(
        "--directory",
        directory,
        **certificates.settings | change,
        PROMETHEUS_METRICS_PORT=port,
        PROMETHEUS_BIND_ADDRESS="127.0.0.1",
    )
    assert status == 1
    assert words in said
    assert "Traceback" not in said
