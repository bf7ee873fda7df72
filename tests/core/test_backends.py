"""Which storage backends are taken, and the settings that they declare."""

from __future__ import annotations

import sys

import pytest

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.configuration import FILE_VARIABLE, load
from gunicorn_prometheus_core.errors import MissingPart, SettingsError
from gunicorn_prometheus_core.settings import Settings

ENTRY_POINTS = """
[gunicorn_prometheus.storage]
lake = plugin_lake:Backend
pond = plugin_pond:Backend
"""
LAKE = """
from gunicorn_prometheus_core import parsing
from gunicorn_prometheus_core.settings import Option

class Backend:
    protocol = 1
    capabilities = frozenset()
    options = (
        Option("depth_metres", 5, parsing.integer(1, 100), "How deep."),
        Option("password", None, parsing.secret("a password"), "Word.", secret=True),
        Option("shores", (("a", 1),), parsing.addresses(), "Where."),
    )
"""
POND = "raise RuntimeError('looked at\\nthough nobody asked')"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A third party's distribution; gives a function that changes the backend's source."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "plugin_pond.py").write_text(POND)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source=LAKE):
        sys.modules.pop("plugin_lake", None)
        (tmp_path / "plugin_lake.py").write_text(source)

    write()
    yield write
    for name in ("plugin_lake", "plugin_pond"):
        sys.modules.pop(name, None)


def chosen(name="lake", **more):
    return load({"GUNICORN_PROMETHEUS_STORAGE": name, **more})


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "settings.yml"
        path.write_text(text)
        return str(path)

    return write


# Which are taken


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            LAKE.replace("protocol = 1", "protocol = 0"),
            "is made for version 0 of the storage protocol, and this is version 1: "
            "pip install --upgrade theirs",
        ),
        (
            LAKE.replace("protocol = 1", "protocol = 2"),
            "is made for version 2 of the storage protocol, and this is version 1: "
            "pip install --upgrade gunicorn-prometheus-core",
        ),
        (LAKE.replace("protocol = 1", "pass"), "AttributeError: 'Backend' object has no attribute"),
        (LAKE.replace("protocol = 1", "protocol = 'new'"), "can't be used: ValueError: "),
        (LAKE.replace("options =", "settings ="), "no attribute 'options'; mend or update theirs"),
        ("raise OSError('on the\\nway')", "can't be used: OSError: on the way; mend or update"),
        ("import a_library_that_is_not_there", "No module named 'a_library_that_is_not_there'"),
        ("Backend = 5", "TypeError"),
        (LAKE.replace("frozenset()", "frozenset({'flies'})"), "declares what there is not"),
        (LAKE.replace('"depth_metres"', '"password"'), "or twice: password, password, shores"),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused_in_one_line(installed, source, words):
    installed(source)
    for look in (chosen, lambda: plugins.backend(Settings(storage="lake"))):
        with pytest.raises(MissingPart) as error:
            look()
        message = str(error.value)
        assert message.startswith("the storage backend 'lake' of theirs ")
        assert words in message
        assert "\n" not in message


def test_a_backend_that_can_be_used_is_given(installed):
    assert plugins.backend(chosen()).protocol == 1


def test_one_that_is_not_installed_is_a_matter_of_who_needs_it(installed):
    settings = chosen("puddle")
    with pytest.raises(SettingsError, match="installed storage backend; installed are: "):
        plugins.backend(settings)


# Their settings


def test_they_have_their_defaults(installed):
    assert chosen().own == {"depth_metres": 5, "password": None, "shores": (("a", 1),)}


def test_they_come_from_the_environment_over_the_file(installed, file):
    path = file("exporter: {storage: lake, lake: {depth_metres: 7, shores: ['b:2', 'c:3']}}")
    settings = load({FILE_VARIABLE: path})
    assert settings.own["depth_metres"] == 7
    assert settings.own["shores"] == (("b", 2), ("c", 3))
    assert settings.said("own.depth_metres") == (
        f"exporter.lake.depth_metres='7' (from {path}, line 1, column 48)"
    )
    settings = load({FILE_VARIABLE: path, "GUNICORN_PROMETHEUS_LAKE_DEPTH_METRES": "9"})
    assert settings.own["depth_metres"] == 9
    assert settings.said("own.depth_metres") == (
        "GUNICORN_PROMETHEUS_LAKE_DEPTH_METRES='9' (from the environment)"
    )


def test_a_secret_can_be_in_a_file_and_is_shown_nowhere(installed, tmp_path):
    (tmp_path / "secret").write_text("xyzzy\n")
    settings = chosen(GUNICORN_PROMETHEUS_LAKE_PASSWORD_FILE=str(tmp_path / "secret"))
    assert settings.own["password"] == "xyzzy"
    assert "xyzzy" not in repr(settings) + settings.said("own.password")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lake: {depth_metres: 700}", "must be a whole number from 1 to 100 (default: 5)"),
        ("lake: {depth_metres: '7'}", "whole number from 1 to 100, without quotation marks"),
        ("lake: {deep_metres: 7}", "not a setting; did you mean exporter.lake.depth_metres?"),
        ("lake: 7", "exporter.lake (from {path}, line 1, column 33): must be a map of settings"),
        ("puddle: {}", "exporter.puddle (from {path}, line 1, column 27): is not a setting"),
    ],
)
def test_a_wrong_one_is_reported_like_ours(installed, file, text, words):
    path = file(f"exporter: {{storage: lake, {text}}}")
    with pytest.raises(SettingsError) as error:
        load({FILE_VARIABLE: path})
    assert words.format(path=path) in str(error.value)


def test_a_wrong_variable_is_reported_like_ours(installed):
    with pytest.raises(SettingsError) as error:
        chosen(GUNICORN_PROMETHEUS_LAKE_DEPTH_METRES="deep")
    assert str(error.value) == (
        "GUNICORN_PROMETHEUS_LAKE_DEPTH_METRES='deep' (from the environment): "
        "must be a whole number from 1 to 100 (default: 5)"
    )


def test_only_the_chosen_backend_is_loaded(installed, file):
    path = file("exporter: {lake: {depth_metres: none}, pond: {anything: [1]}}")
    assert load({FILE_VARIABLE: path}).own == {}
    assert not sys.modules.keys() & {"plugin_lake", "plugin_pond"}
    path = file("exporter: {storage: lake, lake: {depth_metres: 2}, pond: {anything: [1]}}")
    assert load({FILE_VARIABLE: path}).own["depth_metres"] == 2
    assert "plugin_pond" not in sys.modules


def test_they_are_told_to_other_processes(installed):
    told = chosen(GUNICORN_PROMETHEUS_LAKE_PASSWORD="xyzzy", GUNICORN_PROMETHEUS_LAKE_SHORES="d:4")
    heard = Settings.loads(told.dumps())
    assert heard == told
    for name in ("depth_metres", "password", "shores"):
        assert heard.said(f"own.{name}") == told.said(f"own.{name}")
    assert heard.said("own.depth_metres") == "GUNICORN_PROMETHEUS_LAKE_DEPTH_METRES=5 (the default)"


def test_one_that_has_the_name_of_ours_is_refused(tmp_path, installed, monkeypatch):
    (tmp_path / "theirs-1.0.dist-info" / "entry_points.txt").write_text(
        "[gunicorn_prometheus.storage]\nsharing = plugin_lake:Backend\n"
    )
    installed(LAKE.replace('"depth_metres"', '"scope"'))
    with pytest.raises(MissingPart, match="which is a setting of ours; it needs another name"):
        chosen("sharing")
