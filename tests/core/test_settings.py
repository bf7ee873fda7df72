import dataclasses

import pytest

from gunicorn_prometheus_core.configuration import load
from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import DECLARATIONS, Settings, shown

DEFAULTS = {
    "PROMETHEUS_MULTIPROC_DIR": None,
    "PROMETHEUS_METRICS_PORT": 9091,
    "PROMETHEUS_BIND_ADDRESS": "0.0.0.0",
    "CLEANUP_DB_FILES": True,
    "GUNICORN_PROMETHEUS_STORAGE": "mmap",
    "REDIS_ENABLED": False,
    "SIDECAR_MODE": False,
    "GUNICORN_PROMETHEUS_ENDPOINT": "route",
    "GUNICORN_PROMETHEUS_PAGE": True,
    "GUNICORN_PROMETHEUS_ENDPOINT_LIMIT": 100,
    "GUNICORN_PROMETHEUS_LABEL_LIMIT": 100,
    "GUNICORN_PROMETHEUS_EXCLUDED_PATHS": (),
    "GUNICORN_PROMETHEUS_DURATION_BUCKETS": (),
    "GUNICORN_PROMETHEUS_QUEUE_TIME": True,
    "GUNICORN_PROMETHEUS_EXEMPLARS": True,
    "GUNICORN_PROMETHEUS_NATIVE_HISTOGRAMS": False,
    "GUNICORN_PROMETHEUS_PUBLISH_SECONDS": 2.0,
    "GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS": 1.0,
    "GUNICORN_PROMETHEUS_INSTANCE": None,
    "GUNICORN_PROMETHEUS_SCOPE": "all",
    "REDIS_URL": None,
    "REDIS_HOST": "127.0.0.1",
    "REDIS_PORT": 6379,
    "REDIS_DB": 0,
    "REDIS_USERNAME": None,
    "REDIS_PASSWORD": None,
    "REDIS_KEY_PREFIX": "gunicorn",
    "REDIS_TTL_SECONDS": 300.0,
    "REDIS_TTL_DISABLED": False,
    "REDIS_TLS": False,
    "REDIS_TLS_CA": None,
    "REDIS_TLS_CERT": None,
    "REDIS_TLS_KEY": None,
    "REDIS_SENTINELS": (),
    "REDIS_SENTINEL_SERVICE": "mymaster",
    "REDIS_SENTINEL_USERNAME": None,
    "REDIS_SENTINEL_PASSWORD": None,
    "REDIS_CLUSTER": False,
    "GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS": 10.0,
    "PROMETHEUS_WEB_CONFIG_FILE": None,
    "PROMETHEUS_SSL_ENABLED": None,
    "PROMETHEUS_SSL_CERTFILE": None,
    "PROMETHEUS_SSL_KEYFILE": None,
    "PROMETHEUS_SSL_CLIENT_CAFILE": None,
    "PROMETHEUS_SSL_CLIENT_CAPATH": None,
    "PROMETHEUS_SSL_CLIENT_AUTH_REQUIRED": None,
    "SIDECAR_UPDATE_INTERVAL": 30.0,
    "GUNICORN_WORKERS": None,
    "GUNICORN_TIMEOUT": None,
    "GUNICORN_KEEPALIVE": None,
    "GUNICORN_BIND": None,
    "GUNICORN_WORKER_CLASS": None,
}
FIELDS = {declared.variable: name for name, declared in DECLARATIONS.items()}
KINDS = {declared.variable: declared.kind for declared in DECLARATIONS.values()}
FLAGS = [name for name, kind in KINDS.items() if kind.yaml == ("bool",)]

GOOD = [
    ("PROMETHEUS_MULTIPROC_DIR", "/run/metrics", "/run/metrics"),
    ("PROMETHEUS_METRICS_PORT", "1", 1),
    ("PROMETHEUS_METRICS_PORT", "65535", 65535),
    ("PROMETHEUS_METRICS_PORT", " 9200 ", 9200),
    *(
        ("PROMETHEUS_BIND_ADDRESS", text, text)
        for text in ("::1", "127.0.0.1,[::1]:9092", "localhost:9093", "unix:/run/m.sock, 0.0.0.0")
    ),
    ("GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS", "2.5", 2.5),
    ("GUNICORN_PROMETHEUS_STORAGE", "theirs", "theirs"),
    ("GUNICORN_PROMETHEUS_ENDPOINT", "path", "path"),
    ("GUNICORN_PROMETHEUS_ENDPOINT", "none", "none"),
    ("GUNICORN_PROMETHEUS_LABEL_LIMIT", "7", 7),
    ("GUNICORN_PROMETHEUS_EXCLUDED_PATHS", "/health, /static/*", ("/health", "/static/*")),
    ("GUNICORN_PROMETHEUS_DURATION_BUCKETS", "0.1", (0.1,)),
    ("GUNICORN_PROMETHEUS_DURATION_BUCKETS", "0.1, .5,2", (0.1, 0.5, 2.0)),
    ("GUNICORN_PROMETHEUS_QUEUE_TIME", "false", False),
    ("GUNICORN_PROMETHEUS_PAGE", "off", False),
    ("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "0", 0),
    ("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "100000", 100_000),
    ("GUNICORN_PROMETHEUS_PUBLISH_SECONDS", "0.5", 0.5),
    ("GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS", "3", 3.0),
    ("GUNICORN_PROMETHEUS_INSTANCE", "web-1", "web-1"),
    ("GUNICORN_PROMETHEUS_SCOPE", "instance", "instance"),
    *(
        ("REDIS_URL", url, url)
        for url in ("redis://u:p%40@h:1/2", "rediss://h", "unix:///run/redis.sock?db=1")
    ),
    ("REDIS_HOST", "redis-service", "redis-service"),
    ("REDIS_PORT", "6380", 6380),
    ("REDIS_DB", "1", 1),
    ("REDIS_USERNAME", "exporter", "exporter"),
    ("REDIS_PASSWORD", "secret123", "secret123"),
    ("REDIS_KEY_PREFIX", "shop", "shop"),
    ("REDIS_TTL_SECONDS", "60", 60.0),
    ("REDIS_TLS_CA", "/etc/ca.pem", "/etc/ca.pem"),
    ("REDIS_TLS_CERT", "/etc/cert.pem", "/etc/cert.pem"),
    ("REDIS_TLS_KEY", "/etc/key.pem", "/etc/key.pem"),
    ("REDIS_SENTINELS", "a:1, [::1]:2", (("a", 1), ("::1", 2))),
    ("REDIS_SENTINEL_SERVICE", "metrics", "metrics"),
    ("REDIS_SENTINEL_USERNAME", "exporter", "exporter"),
    ("REDIS_SENTINEL_PASSWORD", "secret123", "secret123"),
    ("PROMETHEUS_WEB_CONFIG_FILE", "/etc/web.yml", "/etc/web.yml"),
    ("PROMETHEUS_SSL_CERTFILE", "/etc/cert.pem", "/etc/cert.pem"),
    ("PROMETHEUS_SSL_KEYFILE", "/etc/key.pem", "/etc/key.pem"),
    ("PROMETHEUS_SSL_CLIENT_CAFILE", "/etc/ca.pem", "/etc/ca.pem"),
    ("PROMETHEUS_SSL_CLIENT_CAPATH", "/etc/ssl/certs", "/etc/ssl/certs"),
    ("SIDECAR_UPDATE_INTERVAL", "60", 60.0),
    ("GUNICORN_WORKERS", "4", 4),
    ("GUNICORN_TIMEOUT", "0", 0),
    ("GUNICORN_KEEPALIVE", "5", 5),
    ("GUNICORN_BIND", "0.0.0.0:8000,unix:/run/app.sock", "0.0.0.0:8000,unix:/run/app.sock"),
    ("GUNICORN_WORKER_CLASS", "gthread", "gthread"),
    *((flag, text, True) for flag in FLAGS for text in ("true", "TRUE", "1", "yes", "On", " on ")),
    *((flag, text, False) for flag in FLAGS for text in ("false", "False", "0", "no", "off")),
]
BAD = [
    *(
        ("PROMETHEUS_METRICS_PORT", text)
        for text in ("0", "65536", "-1", "http", "90.91", "9091/tcp", "0x2383")
    ),
    *((flag, text) for flag in FLAGS for text in ("2", "maybe", "t", "nein", "true false")),
    *(
        ("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", text)
        for text in ("-1", "100001", "unlimited", "1e3", "10\n20")
    ),
    *(("GUNICORN_PROMETHEUS_LABEL_LIMIT", text) for text in ("-1", "many")),
    *(("GUNICORN_PROMETHEUS_ENDPOINT", text) for text in ("routes", "off", "route,path")),
    *(("GUNICORN_PROMETHEUS_EXCLUDED_PATHS", text) for text in ("health", "/a,", "/a*b", "*")),
    *(
        ("GUNICORN_PROMETHEUS_DURATION_BUCKETS", text)
        for text in (
            "0",
            "-1,2",
            "2,1",
            "1,1",
            "1,inf",
            "nan",
            "fast",
            ",".join(map(str, range(1, 53))),
        )
    ),
    *(("GUNICORN_PROMETHEUS_PUBLISH_SECONDS", text) for text in ("0", "soon", "nan", "3601")),
    *(("GUNICORN_PROMETHEUS_STORAGE_TIMEOUT_SECONDS", text) for text in ("0", "inf", "2s")),
    ("GUNICORN_PROMETHEUS_SCOPE", "everything"),
    *(
        ("PROMETHEUS_BIND_ADDRESS", text)
        for text in (":9091", "a:b", "a:70000", "[::1", "[::1]9091", "unix:m.sock", "a,,b", "a, a")
    ),
    *(("GUNICORN_PROMETHEUS_CLIENT_TIMEOUT_SECONDS", text) for text in ("0", "never")),
    *(("REDIS_PORT", text) for text in ("0", "redis:6379")),
    ("REDIS_DB", "-1"),
    *(("REDIS_TTL_SECONDS", text) for text in ("0", "never", "604801")),
    *(("REDIS_SENTINELS", text) for text in ("a", "a:b", "a:1,", ":1")),
    ("SIDECAR_UPDATE_INTERVAL", "0"),
    *(("GUNICORN_WORKERS", text) for text in ("0", "auto", "2.5")),
    ("GUNICORN_TIMEOUT", "-1"),
    ("GUNICORN_KEEPALIVE", "long"),
]


def value_of(settings, name):
    return getattr(settings, FIELDS[name])


def test_the_settings_are_these_with_these_defaults():
    nothing_set = load({})
    assert {name: value_of(nothing_set, name) for name in FIELDS} == DEFAULTS


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_read(name, text, value):
    assert value_of(load({name: text}), name) == value


def test_every_setting_has_a_test_of_a_good_value():
    assert {name for name, *_ in GOOD} == set(DEFAULTS)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_one_line_that_says_what_is_wrong_and_what_is_allowed(name, text):
    with pytest.raises(SettingsError) as error:
        load({name: text})
    message = str(error.value)
    assert message.startswith(f"{name}={text!r} (from the environment): must be ")
    assert KINDS[name].allowed in message
    assert f"(default: {shown(DEFAULTS[name]) or 'not set'})" in message
    assert "\n" not in message


def test_every_setting_that_can_be_wrong_has_a_test_of_a_bad_value():
    free_text = {name for name, kind in KINDS.items() if kind.parse in (str, str.strip)}
    assert {name for name, _ in BAD} == set(DEFAULTS) - free_text - {"REDIS_URL"}


def test_a_secret_is_not_told():
    secrets = {declared.variable for declared in DECLARATIONS.values() if declared.secret}
    assert secrets == {"REDIS_URL", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD"}
    given = dict.fromkeys(secrets, "redis://:sesame@host")
    assert "sesame" not in repr(load(given))
    with pytest.raises(SettingsError) as error:
        load({"REDIS_URL": "http://:sesame@host"})
    assert str(error.value).startswith("REDIS_URL=(a secret) (from the environment): must be a URL")
    assert "sesame" not in str(error.value)


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
@pytest.mark.parametrize("name", DEFAULTS)
def test_an_empty_variable_counts_as_not_set(name, empty):
    assert value_of(load({name: empty}), name) == DEFAULTS[name]


def test_the_environment_of_the_process_is_read_by_default(monkeypatch):
    monkeypatch.setenv("PROMETHEUS_METRICS_PORT", "9300")
    assert load().metrics_port == 9300


def test_variables_of_others_are_ignored():
    assert load({"PATH": "/bin", "PROMETHEUS": "1"}) == Settings()


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load({}).metrics_port = 1


@pytest.mark.parametrize(
    ("environ", "backend"),
    [
        ({}, "mmap"),
        ({"GUNICORN_PROMETHEUS_STORAGE": "theirs"}, "theirs"),
        ({"REDIS_ENABLED": "true"}, "redis"),
        ({"REDIS_ENABLED": "false", "GUNICORN_PROMETHEUS_STORAGE": "theirs"}, "theirs"),
        ({"REDIS_ENABLED": "true", "GUNICORN_PROMETHEUS_STORAGE": "redis"}, "redis"),
    ],
)
def test_the_storage_is_the_named_one_or_redis(environ, backend):
    settings = load(environ)
    assert settings.storage == backend
    assert settings.redis_enabled == (backend == "redis")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"REDIS_TTL_SECONDS": "5"}, "must be at least 6, 3 times"),
        ({"REDIS_SENTINELS": "a:1", "REDIS_CLUSTER": "true"}, "not both"),
        ({"REDIS_SENTINELS": "a:1", "REDIS_URL": "redis://a"}, "not both"),
        ({"REDIS_DB": "1", "REDIS_CLUSTER": "true"}, "must be 0 in a cluster"),
        ({"GUNICORN_PROMETHEUS_STORAGE": "mmap"}, "they contradict each other"),
    ],
)
def test_settings_of_redis_that_contradict_each_other_are_refused(environ, words):
    with pytest.raises(SettingsError, match=words):
        load({"REDIS_ENABLED": "true", **environ})
    environ.pop("GUNICORN_PROMETHEUS_STORAGE", None)
    assert load(environ).storage == "mmap"  # nobody minds while it is not enabled
