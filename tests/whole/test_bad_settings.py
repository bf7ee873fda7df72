"""Settings that can't be used: one line says which, what, where from, and what would do.

Each of them at the command line, which ends with status 2. Others read settings by the same
function: one in five is tried under Gunicorn, which does not start, and one in ten with another
command.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sysconfig
from pathlib import Path

import pytest
import trustme

COMMAND = str(Path(sysconfig.get_path("scripts"), "gunicorn-prometheus-exporter"))


def environment(**variables):
    return variables, None, ["(from the environment)"]


def document(content):
    return {}, content, ["(from {path}, line "]


def unreadable(content):
    return {}, content, ["{path}"]


#: What is set, and what the line has to contain, beside the source.
CASES = [
    # The endpoint
    (environment(PROMETHEUS_METRICS_PORT="0"), "PROMETHEUS_METRICS_PORT='0'", "from 1 to 65535"),
    (environment(PROMETHEUS_METRICS_PORT="70000"), "='70000'", "from 1 to 65535"),
    (environment(PROMETHEUS_METRICS_PORT="abc"), "='abc'", "(default: 9091)"),
    (environment(PROMETHEUS_METRICS_PORT="9091/tcp"), "='9091/tcp'", "a whole number"),
    (environment(PROMETHEUS_METRICS_PORT="-1"), "='-1'", "a whole number"),
    (environment(PROMETHEUS_METRICS_PORT="90.91"), "='90.91'", "a whole number"),
    (document("exporter: {prometheus: {metrics_port: 0}}"), "metrics_port='0'", "from 1 to 65535"),
    (document("exporter: {prometheus: {metrics_port: abc}}"), "='abc'", "a whole number"),
    (document("exporter: {prometheus: {metrics_port: '9091'}}"), "='9091'", "without quotation"),
    (document("exporter: {prometheus: {metrics_port: 9091.0}}"), "='9091.0'", "a whole number"),
    (document("exporter: {prometheus: {metrics_port: [9091]}}"), "='9091'", "a whole number"),
    (document("exporter: {prometheus: {metrics_port: true}}"), "='true'", "a whole number"),
    (document("exporter: {prometheus: {metrics_port: {}}}"), "metrics_port", "not a map"),
    (document("exporter: {prometheus: {bind_address: no}}"), "='no'", "an IPv4 or IPv6 address"),
    # The directory
    (environment(PROMETHEUS_MULTIPROC_DIR="/etc/passwd"), "='/etc/passwd'", "must be a directory"),
    (
        document("exporter: {prometheus: {multiproc_dir: /etc/passwd}}"),
        "multiproc_dir",
        "directory",
    ),
    (environment(CLEANUP_DB_FILES="maybe"), "CLEANUP_DB_FILES='maybe'", "true or false"),
    (document("exporter: {cleanup: {db_files: 'true'}}"), "db_files='true'", "without quotation"),
    (document("exporter: {cleanup: {db_files: 2}}"), "db_files='2'", "true or false"),
    # The storage
    (environment(GUNICORN_PROMETHEUS_STORAGE="floppy"), "='floppy'", "installed are: mmap"),
    (document("exporter: {storage: floppy}"), "exporter.storage='floppy'", "installed are: mmap"),
    (document("exporter: {storage: [mmap, redis]}"), "='mmap,redis'", "name of an installed"),
    (
        environment(GUNICORN_PROMETHEUS_STORAGE="mmap", REDIS_ENABLED="true"),
        "GUNICORN_PROMETHEUS_STORAGE='mmap'",
        "REDIS_ENABLED='true' (from the environment): they contradict each other; leave one",
    ),
    (document("exporter: {storage: redis, redis: {enabled: false}}"), "='redis'", "contradict"),
    (environment(GUNICORN_PROMETHEUS_SCOPE="some"), "='some'", "all or instance"),
    (environment(GUNICORN_PROMETHEUS_PUBLISH_SECONDS="0"), "='0'", "seconds from 0.05 to 3600"),
    (document("exporter: {sharing: {publish_seconds: soon}}"), "='soon'", "seconds from 0.05"),
    (environment(GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS="1m"), "='1m'", "seconds from"),
    # Redis
    (environment(REDIS_ENABLED="si"), "REDIS_ENABLED='si'", "true or false (default: false)"),
    (environment(REDIS_PORT="redis:6379"), "REDIS_PORT='redis:6379'", "(default: 6379)"),
    (environment(REDIS_DB="-1"), "REDIS_DB='-1'", "a whole number"),
    (environment(REDIS_TTL_SECONDS="-300"), "REDIS_TTL_SECONDS='-300'", "from 0.5 to 604800"),
    (document("exporter: {redis: {ttl_seconds: -300}}"), "ttl_seconds='-300'", "from 0.5 to"),
    (document("exporter: {redis: {ttl_seconds: .inf}}"), "ttl_seconds='.inf'", "from 0.5 to"),
    (
        environment(REDIS_ENABLED="true", REDIS_TTL_SECONDS="3"),
        "REDIS_TTL_SECONDS='3'",
        "must be at least 6, 3 times GUNICORN_PROMETHEUS_PUBLISH_SECONDS=2 (the default)",
    ),
    (environment(REDIS_URL="http://:sesame@redis"), "REDIS_URL=(a secret)", "rediss://"),
    (environment(REDIS_URL="redis://:sesame@"), "REDIS_URL=(a secret)", "a URL such as"),
    (document("exporter: {redis: {url: 'redis://:sesame@h:x'}}"), "url=(a secret)", "a URL such"),
    (environment(REDIS_SENTINELS="a:1,b"), "REDIS_SENTINELS='a:1,b'", "host1:26379,host2:26379"),
    (
        environment(REDIS_ENABLED="true", REDIS_SENTINELS="a:1", REDIS_CLUSTER="true"),
        "REDIS_SENTINELS='a:1'",
        "REDIS_CLUSTER='true' (from the environment): not both",
    ),
    (
        environment(REDIS_ENABLED="true", REDIS_URL="redis://:sesame@h", REDIS_SENTINELS="a:1"),
        "REDIS_URL=(a secret)",
        "not both",
    ),
    (
        environment(REDIS_ENABLED="true", REDIS_DB="1", REDIS_CLUSTER="true"),
        "REDIS_DB='1'",
        "must be 0 in a cluster",
    ),
    (environment(REDIS_PASSWORD_FILE="/nowhere"), "REDIS_PASSWORD_FILE='/nowhere'", "No such file"),
    (environment(REDIS_PASSWORD_FILE="/dev/null"), "='/dev/null'", "has to hold the secret"),
    (
        environment(REDIS_PASSWORD_FILE="/nowhere", REDIS_PASSWORD="sesame"),
        "REDIS_PASSWORD=(a secret)",
        "not both",
    ),
    (document("exporter: {redis: {password_file: /nowhere}}"), "='/nowhere'", "No such file"),
    (document("exporter: {redis: {password: [sesame]}}"), "password=(a secret)", "a password"),
    (document("exporter: {redis: {host: '${NOT_SET}'}}"), "redis.host", "NOT_SET is not set; set"),
    # Sidecars
    (environment(SIDECAR_MODE="sometimes"), "SIDECAR_MODE='sometimes'", "true or false"),
    (environment(SIDECAR_UPDATE_INTERVAL="0"), "='0'", "seconds from 1 to 3600"),
    (document("exporter: {sidecar: yes}"), "exporter.sidecar", "must be a map of settings"),
    # Requests and Gunicorn
    (environment(GUNICORN_PROMETHEUS_ENDPOINT_LIMIT="lots"), "='lots'", "from 0 to 100000"),
    (environment(GUNICORN_WORKERS="0"), "GUNICORN_WORKERS='0'", "a whole number from 1"),
    (environment(GUNICORN_TIMEOUT="30s"), "GUNICORN_TIMEOUT='30s'", "a whole number from 0"),
    (document("exporter: {gunicorn: {keepalive: -1}}"), "keepalive='-1'", "a whole number from 0"),
    # Names
    (
        document("exporter: {prometheus: {metric_port: 1}}"),
        "metric_port",
        "prometheus.metrics_port?",
    ),
    (document("exporter: {prometeus: {}}"), "exporter.prometeus", "mean exporter.prometheus?"),
    (document("prometheus: {}"), "prometheus", "did you mean exporter.prometheus?"),
    (document("exporter: {ssl: {tls_version: 1}}"), "ssl.tls_version", "allowed here: certfile,"),
    (document("exporter: {redis: {db: 1, db: 2}}"), "redis.db", "there already, in line 1; leave"),
    (
        document("exporter:\n  ssl:\n  ssl:\n"),
        "exporter.ssl",
        "there already, in line 2; leave one",
    ),
    # What is no file of settings
    (unreadable(""), "is empty", "it has to hold settings"),
    (unreadable("# later\n"), "is empty", "it has to hold settings"),
    (unreadable("- exporter\n"), "must be a map that begins with `exporter:`", "not a list"),
    (unreadable("exporter\n"), "must be a map that begins with `exporter:`", "not str"),
    (unreadable("exporter:\n\tredis: {}\n"), "line 2, column 1", "a tab, where YAML allows spaces"),
    (unreadable("exporter: {redis: {\n"), "line 2, column 1", "is not YAML"),
    (unreadable("exporter: {}\n---\n{}\n"), "line 2", "a single document"),
    (unreadable(b"exporter: {redis: {host: \xff}}"), "line 1: not UTF-8", "save it as UTF-8"),
    (
        unreadable("exporter: {redis: {host: !!python/name:os.system x}}"),
        "redis.host",
        "a host name",
    ),
    (unreadable(None), "can't be read: No such file", "GUNICORN_PROMETHEUS_CONFIG names has to be"),
]


#: Such of TLS and sidecars, which nobody but a server and `doctor` cares about. {cert}, {key} and
#: {ca} are good.
SERVER_CASES = [
    (environment(SIDECAR_MODE="true"), "SIDECAR_MODE='true'", "set PROMETHEUS_MULTIPROC_DIR to"),
    (document("exporter: {sidecar: {mode: true}}"), "exporter.sidecar.mode='true'", "set PROMETH"),
    (environment(PROMETHEUS_SSL_CERTFILE="/nowhere.pem"), "='/nowhere.pem'", "No such file"),
    (environment(PROMETHEUS_SSL_CERTFILE="{key}"), "PROMETHEUS_SSL_CERTFILE=", "no certificate in"),
    (environment(PROMETHEUS_SSL_CERTFILE="{ca}"), "PROMETHEUS_SSL_CERTFILE=", "no private key in"),
    (
        environment(PROMETHEUS_SSL_CERTFILE="{cert}", PROMETHEUS_SSL_KEYFILE="{other}"),
        "PROMETHEUS_SSL_KEYFILE='{other}'",
        "is not the key of the certificate, PROMETHEUS_SSL_CERTFILE='{cert}'",
    ),
    (
        environment(PROMETHEUS_SSL_CERTFILE="{cert}", PROMETHEUS_SSL_KEYFILE="/nowhere.pem"),
        "PROMETHEUS_SSL_KEYFILE='/nowhere.pem'",
        "No such file",
    ),
    (
        environment(PROMETHEUS_SSL_KEYFILE="{key}"),
        "PROMETHEUS_SSL_KEYFILE=",
        "needs PROMETHEUS_SSL",
    ),
    (
        environment(PROMETHEUS_SSL_ENABLED="true"),
        "PROMETHEUS_SSL_ENABLED='true'",
        "needs PROMETHEUS",
    ),
    (
        environment(
            PROMETHEUS_SSL_CERTFILE="{cert}",
            PROMETHEUS_SSL_KEYFILE="{key}",
            PROMETHEUS_SSL_CLIENT_CAFILE="{ca}",
        ),
        "PROMETHEUS_SSL_CLIENT_CAFILE='{ca}'",
        "needs PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED: true to let nobody in",
    ),
    (
        environment(
            PROMETHEUS_SSL_CERTFILE="{cert}",
            PROMETHEUS_SSL_KEYFILE="{key}",
            PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED="true",
        ),
        "PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED='true'",
        "needs PROMETHEUS_SSL_CLIENT_CAFILE or",
    ),
    (
        environment(
            PROMETHEUS_SSL_CERTFILE="{cert}",
            PROMETHEUS_SSL_KEYFILE="{key}",
            PROMETHEUS_SSL_CLIENT_CAPATH="{ca}",
            PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED="true",
        ),
        "PROMETHEUS_SSL_CLIENT_CAPATH='{ca}'",
        "must be a directory",
    ),
    (
        document("exporter: {ssl: {certfile: '{cert}', keyfile: '{other}'}}"),
        "exporter.ssl.keyfile='{other}'",
        "is not the key of the certificate",
    ),
    (environment(PROMETHEUS_WEB_CONFIG_FILE="/nowhere.yml"), "='/nowhere.yml'", "No such file"),
]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Paths of a certificate, its key, that of another, and their authority."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    paths = {name: str(folder / f"{name}.pem") for name in ("cert", "key", "other", "ca")}
    own, others = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    own.cert_chain_pems[0].write_to_path(paths["cert"])
    own.private_key_pem.write_to_path(paths["key"])
    others.private_key_pem.write_to_path(paths["other"])
    authority.cert_pem.write_to_path(paths["ca"])
    return paths


def filled(text, paths):
    for name, path in paths.items():
        text = text.replace(f"{{{name}}}", path)
    return text


@pytest.fixture
def case(request, tmp_path, files):
    """The variables, the file if there is one, and what the line has to contain."""
    (variables, content, source), *words = request.param
    variables = {name: filled(value, files) for name, value in variables.items()}
    path = tmp_path / "metrics.yml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(filled(content, files))
    named = path if content is not None or not variables else None
    return (
        variables,
        named,
        [filled(word, files | {"path": str(path)}) for word in (*source, *words)],
    )


def inherited(**variables):
    theirs = ("PROMETHEUS_", "GUNICORN_", "REDIS_", "SIDECAR_", "CLEANUP_")
    return {k: v for k, v in os.environ.items() if not k.startswith(theirs)} | variables


@pytest.mark.parametrize(
    ("case", "command"),
    [
        *((case, "doctor") for case in (*CASES, *SERVER_CASES)),
        *((case, "get") for case in CASES[::10]),
    ],
    indirect=["case"],
    ids=itertools.count(),
)
def test_at_the_command_line(case, command):
    variables, path, words = case
    command = [COMMAND, command, *(["--config", str(path)] if path else [])]
    done = subprocess.run(
        command, env=inherited(**variables), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("gunicorn-prometheus-exporter: ")
    assert "sesame" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("case", [*CASES[::5], *SERVER_CASES], indirect=True, ids=itertools.count())
def test_under_gunicorn(case, server, tmp_path):
    variables, path, words = case
    options = ["-w", "1"]
    if path is not None:
        configuration = tmp_path / "gunicorn.conf.py"
        configuration.write_text(
            "from gunicorn_prometheus_exporter import load_yaml_config\n"
            f"load_yaml_config({str(path)!r})\n"
        )
        options += ["-c", str(configuration)]
    gunicorn = server(*options)
    gunicorn.environment = {"PROMETHEUS_METRICS_PORT": str(gunicorn.metrics_port)} | variables
    if path is not None:
        del gunicorn.environment["PROMETHEUS_METRICS_PORT"]
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(30) not in (0, None)
    assert "Traceback" not in gunicorn.log
    assert "Booting worker" not in gunicorn.log
    assert "sesame" not in gunicorn.log
    (line,) = [line for line in gunicorn.log.splitlines() if "[ERROR]" in line]
    for word in words:
        assert word in line
    with socket.socket() as sock:
        assert sock.connect_ex((gunicorn.host, gunicorn.port)) != 0
