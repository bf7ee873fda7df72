"""A YAML file of settings, beside the environment."""

import os
import subprocess
import sys

import pytest

from gunicorn_prometheus_core import configuration
from gunicorn_prometheus_core.configuration import FILE_VARIABLE, load, load_yaml_config
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import DECLARATIONS, Origin, Settings, default, shown

EVERYTHING = """\
exporter:
  prometheus:
    metrics_port: 9092
    bind_address: "127.0.0.1"
    client_timeout_seconds: 5
    multiproc_dir: /run/metrics
    page: off
    web_config_file: /etc/web.yml
  gunicorn:
    workers: 2
    timeout: 30
    keepalive: 2
    bind: ["0.0.0.0:8000", "unix:/run/app.sock"]
    worker_class: gthread
  storage: redis
  sharing:
    publish_seconds: 1.5
    timeout_seconds: 2
    instance: web-1
    scope: instance
  redis:
    url: rediss://redis.example.com
    host: redis.example.com
    port: 6380
    db: 1
    username: exporter
    password: 0123
    key_prefix: shop
    ttl_seconds: 60
    ttl_disabled: no
    tls: yes
    tls_ca: /etc/ca.pem
    tls_cert: /etc/cert.pem
    tls_key: /etc/key.pem
    sentinels: []
    sentinel_service: metrics
    sentinel_username: exporter
    sentinel_password: secret
    cluster: false
  ssl:
    enabled: false
    certfile: /etc/cert.pem
    keyfile: /etc/key.pem
    client_cafile: /etc/ca.pem
    client_capath: /etc/ssl/certs
    client_auth_required: true
  sidecar:
    mode: on
    update_interval: 15
  requests:
    endpoint: none
    endpoint_limit: 50
    label_limit: 60
    excluded_paths: [/health, /static/*]
    duration_buckets: [0.1, 1, 2.5]
    queue_time: off
    exemplars: off
    native_histograms: on
  cleanup:
    db_files: false
"""
#: What stands in the file above and is not the default.
READ = {
    "metrics_port": 9092,
    "bind_address": "127.0.0.1",
    "client_timeout_seconds": 5.0,
    "multiproc_dir": "/run/metrics",
    "page": False,
    "web_config_file": "/etc/web.yml",
    "gunicorn_workers": 2,
    "gunicorn_timeout": 30,
    "gunicorn_keepalive": 2,
    "gunicorn_bind": "0.0.0.0:8000,unix:/run/app.sock",
    "gunicorn_worker_class": "gthread",
    "storage": "redis",
    "redis_enabled": True,
    "publish_seconds": 1.5,
    "storage_timeout_seconds": 2.0,
    "instance": "web-1",
    "scope": "instance",
    "redis_url": "rediss://redis.example.com",
    "redis_host": "redis.example.com",
    "redis_port": 6380,
    "redis_db": 1,
    "redis_username": "exporter",
    "redis_password": "0123",
    "redis_key_prefix": "shop",
    "redis_ttl_seconds": 60.0,
    "redis_tls": True,
    "redis_tls_ca": "/etc/ca.pem",
    "redis_tls_cert": "/etc/cert.pem",
    "redis_tls_key": "/etc/key.pem",
    "redis_sentinel_service": "metrics",
    "redis_sentinel_username": "exporter",
    "redis_sentinel_password": "secret",
    "ssl_enabled": False,
    "ssl_certfile": "/etc/cert.pem",
    "ssl_keyfile": "/etc/key.pem",
    "ssl_client_cafile": "/etc/ca.pem",
    "ssl_client_capath": "/etc/ssl/certs",
    "ssl_client_auth_required": True,
    "sidecar_mode": True,
    "sidecar_update_interval": 15.0,
    "endpoint": "none",
    "endpoint_limit": 50,
    "label_limit": 60,
    "excluded_paths": ("/health", "/static/*"),
    "duration_buckets": (0.1, 1.0, 2.5),
    "queue_time": False,
    "exemplars": False,
    "native_histograms": True,
    "cleanup_db_files": False,
}


@pytest.fixture
def file(tmp_path):
    """Writes a file of settings and gives its path."""

    def write(content, name="metrics.yml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_every_setting_can_stand_in_a_file(file):
    settings = load({FILE_VARIABLE: file(EVERYTHING)})
    assert {name: getattr(settings, name) for name in READ} == READ
    written = {name for name, origin in settings.origins.items() if origin.place.startswith("from")}
    beside = {"redis_ttl_disabled", "redis_sentinels", "redis_cluster"}
    assert written | {"redis_enabled"} == set(READ) | beside - {"redis_sentinels"}
    assert set(READ) | beside >= set(DECLARATIONS)


def test_the_environment_wins_over_the_file_and_that_over_the_default(file):
    path = file("exporter: {prometheus: {metrics_port: 9092, bind_address: 127.0.0.1}}")
    settings = load({FILE_VARIABLE: path, "PROMETHEUS_METRICS_PORT": "9093"})
    assert (settings.metrics_port, settings.bind_address) == (9093, "127.0.0.1")
    assert settings.redis_port == 6379
    assert settings.origins["metrics_port"] == Origin(
        "PROMETHEUS_METRICS_PORT", "'9093'", "from the environment"
    )
    assert settings.said("bind_address") == (
        f"exporter.prometheus.bind_address='127.0.0.1' (from {path}, line 1, column 59)"
    )
    assert settings.said("redis_port") == "REDIS_PORT=6379 (the default)"


def test_a_path_that_is_given_wins_over_the_variable(file):
    path = file("exporter: {prometheus: {metrics_port: 9092}}")
    assert load({FILE_VARIABLE: "/nowhere.yml"}, path).metrics_port == 9092


def test_what_is_null_or_empty_counts_as_not_set(file):
    path = file(
        "exporter:\n  prometheus:\n  redis: {password: '', host: ~, username: null}\n"
        "  ssl: {certfile: ''}\n"
    )
    assert load({FILE_VARIABLE: path}) == Settings()


def test_load_yaml_config_is_for_this_process_and_those_it_starts(file, monkeypatch):
    path = file("exporter: {prometheus: {metrics_port: 9092}}")
    monkeypatch.setenv(FILE_VARIABLE, "")
    monkeypatch.chdir(os.path.dirname(path))
    load_yaml_config("metrics.yml")
    assert load().metrics_port == 9092
    code = "from gunicorn_prometheus_core import configuration as c; print(c.load().metrics_port)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, cwd="/", check=True, timeout=30)
    assert done.stdout == b"9092\n"


def test_what_is_in_force_stays_whatever_becomes_of_the_environment(monkeypatch):
    monkeypatch.setattr(configuration, "_in_force", None)
    monkeypatch.setenv("REDIS_PORT", "6380")
    assert configuration.in_force().redis_port == 6380
    configuration.put_in_force(configuration.load())
    monkeypatch.setenv("REDIS_PORT", "6381")
    assert configuration.in_force().redis_port == 6380
    assert configuration.load().redis_port == 6381


def test_settings_can_be_told_to_another_process(file):
    everything = load({FILE_VARIABLE: file(EVERYTHING), "REDIS_SENTINEL_SERVICE": "theirs"})
    told = Settings.loads(everything.dumps())
    assert told == everything
    assert told.origins == everything.origins
    sentinels = load({"REDIS_SENTINELS": "a:1,b:2"})
    assert Settings.loads(sentinels.dumps()).redis_sentinels == (("a", 1), ("b", 2))


@pytest.mark.parametrize("name", DECLARATIONS)
def test_what_is_shown_of_a_default_can_be_read_again(name):
    text = shown(default(name))
    if text:
        assert DECLARATIONS[name].kind.parse(text) == default(name)


# Variables and secrets


def test_variables_in_values_are_replaced(file):
    path = file(
        "exporter:\n"
        "  redis: {host: 'redis-${STAGE}', port: '${PORT}', key_prefix: '${P:-shop}$$'}\n"
        "  prometheus: {bind_address: '${NONE:-}'}\n"
    )
    settings = load({FILE_VARIABLE: path, "STAGE": "live", "PORT": "6380"})
    assert settings.redis_host == "redis-live"
    assert settings.redis_port == 6380
    assert settings.redis_key_prefix == "shop$"
    assert settings.bind_address == "0.0.0.0"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_can_be_in_a_file_of_its_own(file, ending):
    secret = file(f" sesame {ending}", "secret")
    path = file(f"exporter: {{redis: {{password_file: {secret}}}}}")
    assert load({FILE_VARIABLE: path}).redis_password == " sesame "
    assert load({"REDIS_PASSWORD_FILE": secret}).redis_password == " sesame "
    # The environment wins over the file also where one of them names a file.
    assert load({FILE_VARIABLE: path, "REDIS_PASSWORD": "other"}).redis_password == "other"


def test_no_secret_is_in_what_is_said(file):
    path = file("exporter: {redis: {password: sesame}}")
    settings = load({FILE_VARIABLE: path})
    assert settings.said("redis_password").startswith("exporter.redis.password=(a secret) (from")
    assert "sesame" not in repr(settings)
    assert "sesame" not in str(settings.origins)


def test_a_port_that_kubernetes_has_set_for_a_service_counts_as_not_set():
    assert load({"REDIS_PORT": "tcp://10.96.0.12:6379"}).redis_port == 6379
    assert load({"PROMETHEUS_METRICS_PORT": "tcp://10.96.0.13:80"}).metrics_port == 9091


# Which storage


def test_the_environment_decides_between_the_two_ways_to_say_which_storage(file):
    redis = file("exporter: {storage: redis}", "redis.yml")
    other = file("exporter: {storage: sqlite}", "other.yml")
    enabled = file("exporter: {redis: {enabled: true}}", "enabled.yml")
    for path, variables, storage in (
        (redis, {}, "redis"),
        (redis, {"REDIS_ENABLED": "false"}, "mmap"),
        (redis, {"GUNICORN_PROMETHEUS_STORAGE": "mmap"}, "mmap"),
        (other, {"REDIS_ENABLED": "true"}, "redis"),
        (other, {"REDIS_ENABLED": "false"}, "sqlite"),
        (enabled, {}, "redis"),
        (enabled, {"GUNICORN_PROMETHEUS_STORAGE": "sqlite"}, "sqlite"),
        (enabled, {"REDIS_ENABLED": "false"}, "mmap"),
    ):
        settings = load({FILE_VARIABLE: path, **variables})
        assert (settings.storage, settings.redis_enabled) == (storage, storage == "redis")


# What can't be used: also tests/whole/test_bad_settings.py

BAD = [
    ("", "is empty"),
    ("# nothing\n", "is empty"),
    ("- exporter\n", "must be a map that begins with `exporter:`, not a list"),
    ("exporter\n", "must be a map"),
    ("exporter: 5\n", "exporter (from {path}, line 1, column 11): must be a map"),
    ("exporter: [1]\n", "must be a map of settings, not a list"),
    ("exporter:\n\tprometheus: {}\n", "line 2, column 1: is not YAML: "),
    ("exporter: {\n", "is not YAML"),
    ("exporter: {}\n---\nexporter: {}\n", "expected a single document"),
    (b"exporter: {redis: {host: caf\xe9}}\n", "line 1: not UTF-8"),
    (b"exporter:\0 {}\n", "is not YAML"),
    ("exporter: {prometheus: {metric_port: 1}}", "did you mean exporter.prometheus.metrics_port?"),
    ("exporter: {metrics_port: 1}", "did you mean exporter.prometheus.metrics_port?"),
    ("prometheus: {metrics_port: 1}", "did you mean exporter.prometheus?"),
    ("exporter: {redis: {colour: 1}}", "is not a setting; allowed here: cluster, db,"),
    ("exporter: {<<: {}}", "exporter.<< (from {path}, line 1, column 12): is not a setting"),
    ("exporter: {[1]: 2}", "a key must be a name, not a list"),
    ("exporter: {redis: {db: 1, db: 2}}", "exporter.redis.db (from {path}, line 1, column 27): is"),
    ("exporter:\n  ssl: {}\n  ssl: {}\n", "is there already, in line 2"),
    ("exporter: {prometheus: {metrics_port: '9091'}}", "65535, without quotation marks (default"),
    ("exporter: {prometheus: {metrics_port: 70000}}", "metrics_port='70000' (from {path}, line 1"),
    ("exporter: {prometheus: {metrics_port: 1.5}}", "must be a whole number"),
    ("exporter: {prometheus: {metrics_port: 0x1F90}}", "must be a whole number"),
    ("exporter: {prometheus: {metrics_port: 1:30}}", "must be a whole number"),
    ("exporter: {prometheus: {metrics_port: [1]}}", "must be a whole number"),
    ("exporter: {prometheus: {metrics_port: {a: 1}}}", "must be a value, not a map"),
    ("exporter: {redis: {sentinels: [[a:1]]}}", "must be a value, not a list"),
    ("exporter: {redis: {sentinels: &a [*a]}}", "must be a value, not a list"),
    ("exporter: {prometheus: {bind_address: true}}", "must be an IPv4 or IPv6 address"),
    ("exporter: {cleanup: {db_files: 'true'}}", "must be true or false, without quotation marks"),
    ("exporter: {cleanup: {db_files: 1}}", "must be true or false"),
    ("exporter: {redis: {ttl_seconds: -1}}", "must be seconds from 0.5 to 604800"),
    ("exporter: {redis: {ttl_seconds: .nan}}", "must be seconds"),
    ("exporter: {redis: {sentinels: [a]}}", "must be addresses such as"),
    ("exporter: {redis: {host: !!python/object:os.system ls}}", "must be a host name"),
    ("exporter: {redis: {host: '${NONE}'}}", "the variable NONE is not set; set it"),
    ("exporter: {redis: {host: '${oh no}'}}", "must begin ${{NAME}}"),
    ("exporter: {redis: {password: a, password_file: /b}}", "not both"),
    ("exporter: {redis: {password_file: /nowhere/secret}}", "No such file or directory"),
    ("exporter: {storage: mmap, redis: {enabled: true}}", "they contradict each other"),
    ("exporter: &a {prometheus: *a}", "exporter"),
    ("a: " + "[" * 5000, "is not YAML"),
    (b"#" * 1_000_001, "must be at most 1000000 bytes"),
]


@pytest.mark.parametrize(("content", "words"), BAD, ids=range(len(BAD)))
def test_a_file_that_cannot_be_used_is_one_line_that_says_where_and_why(file, content, words):
    path = file(content)
    with pytest.raises(SettingsError) as error:
        load({FILE_VARIABLE: path})
    message = str(error.value)
    assert words.format(path=path) in message
    assert path in message
    assert "\n" not in message


@pytest.mark.parametrize("path", ["nowhere.yml", "."])
def test_a_file_that_cannot_be_read(tmp_path, path):
    with pytest.raises(SettingsError, match="can't be read: "):
        load({FILE_VARIABLE: str(tmp_path / path)})
