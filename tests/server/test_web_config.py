"""Web configuration files, good ones and bad ones: those in the folder web_config.

The first line of a bad one is a comment: what has to be said of it. The good
ones are also given to Prometheus' own program, but for those that are newer
than the one of Debian.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_server import access, web_config

FILES = Path(__file__).with_name("web_config")
GOOD = sorted(path.name for path in FILES.glob("*.good.yml"))
BAD = sorted(path.name for path in FILES.glob("*.bad.yml"))


@pytest.fixture
def place(certificates):
    """Puts a file where the certificates are; gives its path."""

    def put(name):
        return shutil.copy(FILES / name, certificates.folder)

    return put


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_can_be_used(place, name):
    access.check(Settings(web_config_file=str(place(name))))


@pytest.mark.parametrize("name", [name for name in GOOD if ".newer." not in name])
def test_prometheus_takes_the_good_files_as_well(place, name):
    promtool = shutil.which("promtool")
    assert promtool, "scripts/system-packages.sh installs it"
    done = subprocess.run(
        [promtool, "check", "web-config", place(name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_that_says_where_and_why(place, name):
    path = place(name)
    expected = Path(path).read_text().splitlines()[0].removeprefix("# ").format(path=path)
    with pytest.raises(SettingsError) as raised:
        access.check(Settings(web_config_file=str(path)))
    (said,) = str(raised.value).splitlines()
    assert expected in said
    assert "hunter2" not in said
    assert "$2b$" not in said


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    settings = Settings(web_config_file=str(tmp_path / "nowhere.yml"))
    with pytest.raises(SettingsError, match=r"nowhere.yml.*: can't be read: No such file"):
        access.check(settings)


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "web.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="UTF-8"):
        access.check(Settings(web_config_file=str(tmp_path / "web.yml")))


def test_certificates_can_stand_in_the_file(certificates):
    folder = certificates.folder

    def block(name):
        return "|\n" + "".join(f"    {line}\n" for line in (folder / name).read_text().splitlines())

    path = folder / "inline.yml"
    path.write_text(
        f"tls_server_config:\n  cert: {block('server.crt')}  key: {block('server.key')}"
        f"  client_ca: {block('clients.crt')}  client_auth_type: RequireAndVerifyClientCert\n"
    )
    read = access.read(Settings(web_config_file=str(path)))
    assert read.context is not None
    assert read.context.verify_mode == ssl.CERT_REQUIRED
    assert read.context.get_ca_certs()
    assert read.files == (str(path),)


def test_a_text_between_certificates_can_be_in_any_language(certificates):
    path = certificates.folder / "clients.crt"
    path.write_text(f"# Autorité de Größe\n{path.read_text()}", encoding="utf-8")
    settings = Settings(
        ssl_certfile=str(certificates.folder / "both.pem"),
        ssl_client_cafile=str(path),
        ssl_client_auth_required=True,
    )
    assert access.read(settings).context.get_ca_certs()


@pytest.mark.parametrize(("key", "why"), [("key", "no private key"), ("x" * 100_000, "")])
def test_a_key_in_the_file_that_cannot_be_used_is_not_shown(certificates, key, why):
    path = certificates.folder / "inline.yml"
    text = key if why else f"-----BEGIN PRIVATE KEY-----{key}"
    path.write_text(f"tls_server_config:\n  cert_file: server.crt\n  key: {text}\n")
    with pytest.raises(SettingsError) as raised:
        access.check(Settings(web_config_file=str(path)))
    assert "tls_server_config.key (from" in str(raised.value)
    assert (why or "too long") in str(raised.value)
    assert len(str(raised.value)) < 500


def test_what_is_read_is_what_is_written(certificates):
    path = certificates.folder / "web.yml"
    hashed = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
    path.write_text(
        "tls_server_config:\n"
        "  cert_file: server.crt\n"
        "  key_file: server.key\n"
        "  client_ca_file: clients.crt\n"
        "  client_auth_type: RequireAndVerifyClientCert\n"
        "  client_allowed_sans: [a.example, 192.0.2.1]\n"
        "  min_version: TLS13\n"
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        f"basic_auth_users:\n  jürgen: {hashed}\n"
        "rate_limit:\n  interval: 1m30s\n  burst: 3\n"
    )
    read = access.read(Settings(web_config_file=str(path)))
    assert read.context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert read.allowed_names == {"a.example", "192.0.2.1"}
    assert read.headers == ((b"x-frame-options", b"deny"),)
    assert read.users == {"jürgen".encode(): hashed.encode()}
    assert read.rate_limit == web_config.RateLimit(90.0, 3)
    assert hashed not in repr(read)
    folder = certificates.folder
    assert read.files == tuple(
        str(folder / name) for name in ("web.yml", "server.crt", "server.key", "clients.crt")
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ssl_enabled": True}, "PROMETHEUS_SSL_ENABLED=true (the default): needs"),
        ({"ssl_keyfile": "server.key"}, "PROMETHEUS_SSL_KEYFILE=server.key"),
        ({"ssl_client_cafile": "clients.crt"}, "needs PROMETHEUS_SSL_CERTFILE"),
        ({"ssl_client_auth_required": True}, "needs PROMETHEUS_SSL_CERTFILE"),
        ({"ssl_certfile": "server.crt"}, "server.crt (the default): holds no private key"),
        ({"ssl_certfile": "nowhere", "ssl_keyfile": "server.key"}, "can't be read"),
        (
            {"ssl_certfile": "server.crt", "ssl_keyfile": "other.key"},
            "is not the key of the certificate",
        ),
        (
            {"ssl_certfile": "both.pem", "ssl_client_cafile": "clients.crt"},
            "needs PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED",
        ),
        (
            {"ssl_certfile": "both.pem", "ssl_client_capath": "."},
            "needs PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED",
        ),
        (
            {"ssl_certfile": "both.pem", "ssl_client_auth_required": True},
            "needs PROMETHEUS_SSL_CLIENT_CAFILE",
        ),
        (
            {
                "ssl_certfile": "both.pem",
                "ssl_client_capath": "nowhere",
                "ssl_client_auth_required": True,
            },
            "must be a directory",
        ),
        ({"ssl_certfile": "both.pem", "web_config_file": "tls.good.yml"}, "both say how"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused(certificates, monkeypatch, given, words):
    shutil.copy(FILES / "tls.good.yml", certificates.folder)
    monkeypatch.chdir(certificates.folder)
    with pytest.raises(SettingsError) as raised:
        access.check(Settings(**given))
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "scheme", "clients"),
    [
        ({}, "http", None),
        ({"ssl_certfile": "both.pem"}, "https", ssl.CERT_NONE),
        ({"ssl_certfile": "both.pem", "ssl_enabled": False}, "http", None),
        ({"ssl_enabled": False, "ssl_client_cafile": "clients.crt"}, "http", None),
        ({"ssl_certfile": "server.crt", "ssl_keyfile": "server.key"}, "https", ssl.CERT_NONE),
        (
            {
                "ssl_certfile": "both.pem",
                "ssl_client_cafile": "clients.crt",
                "ssl_client_auth_required": False,
            },
            "https",
            ssl.CERT_OPTIONAL,
        ),
        (
            {
                "ssl_certfile": "both.pem",
                "ssl_client_capath": "hashed",
                "ssl_client_auth_required": True,
            },
            "https",
            ssl.CERT_REQUIRED,
        ),
        (
            {"ssl_certfile": "both.pem", "web_config_file": "users.good.yml"},
            "https",
            ssl.CERT_NONE,
        ),
    ],
)
def test_settings_and_the_scheme_that_they_mean(certificates, monkeypatch, given, scheme, clients):
    shutil.copy(FILES / "users.good.yml", certificates.folder)
    monkeypatch.chdir(certificates.folder)
    settings = Settings(**given)
    assert access.check(settings) == scheme
    context = access.read(settings).context
    assert (context and context.verify_mode) == clients


def test_without_bcrypt_users_are_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bcrypt", None)
    settings = Settings(web_config_file=str(FILES / "users.good.yml"))
    with pytest.raises(SettingsError, match=r'pip install "gunicorn-prometheus-server\[auth\]"'):
        access.check(settings)
