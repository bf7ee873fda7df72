import dataclasses

import pytest

from gunicorn_prometheus_core.errors import SettingsError
from gunicorn_prometheus_core.settings import Settings, load

DEFAULTS = {
    "PROMETHEUS_MULTIPROC_DIR": None,
    "PROMETHEUS_METRICS_PORT": 9091,
    "PROMETHEUS_BIND_ADDRESS": "0.0.0.0",
    "CLEANUP_DB_FILES": True,
    "GUNICORN_PROMETHEUS_STORAGE": "mmap",
    "REDIS_ENABLED": False,
    "SIDECAR_MODE": False,
    "GUNICORN_PROMETHEUS_ENDPOINT_LIMIT": 100,
}
FIELDS = {field.metadata["env"]: field for field in dataclasses.fields(Settings)}
FLAGS = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]

GOOD = [
    ("PROMETHEUS_MULTIPROC_DIR", "/run/metrics", "/run/metrics"),
    ("PROMETHEUS_METRICS_PORT", "1", 1),
    ("PROMETHEUS_METRICS_PORT", "65535", 65535),
    ("PROMETHEUS_METRICS_PORT", " 9200 ", 9200),
    ("PROMETHEUS_BIND_ADDRESS", "::1", "::1"),
    ("GUNICORN_PROMETHEUS_STORAGE", "theirs", "theirs"),
    ("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "0", 0),
    ("GUNICORN_PROMETHEUS_ENDPOINT_LIMIT", "100000", 100_000),
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
]


def value_of(settings, name):
    return getattr(settings, FIELDS[name].name)


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
    assert FIELDS[name].metadata["allowed"] in message
    assert f"(default: {DEFAULTS[name]})" in message
    assert "\n" not in message


def test_every_setting_that_can_be_wrong_has_a_test_of_a_bad_value():
    free_text = {
        "PROMETHEUS_MULTIPROC_DIR",
        "PROMETHEUS_BIND_ADDRESS",
        "GUNICORN_PROMETHEUS_STORAGE",
    }
    assert {name for name, _ in BAD} == set(DEFAULTS) - free_text


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
        ({"REDIS_ENABLED": "true", "GUNICORN_PROMETHEUS_STORAGE": "theirs"}, "redis"),
    ],
)
def test_the_backend_is_the_named_one_or_redis(environ, backend):
    assert load(environ).backend == backend
