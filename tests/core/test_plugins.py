import sys

import pytest

from gunicorn_prometheus_core import plugins
from gunicorn_prometheus_core.errors import MissingPart

ENTRY_POINTS = """
[gunicorn_prometheus.storage]
first = plugin_first:Backend
second = plugin_second:Backend
broken = plugin_broken:Backend

[gunicorn_prometheus.collectors]
zebra = plugin_first:Backend
aardvark = plugin_second:Backend
"""
MODULES = {
    "plugin_first": "class Backend: pass",
    "plugin_second": "class Backend: pass",
    "plugin_broken": "import module_that_is_not_there",
}


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(sys, "path", [])


@pytest.fixture
def theirs_installed(tmp_path, monkeypatch):
    """A third party's distribution and nothing else."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    for name, code in MODULES.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def loaded():
    return sys.modules.keys() & MODULES.keys()


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("group", "name"), plugins.REMEDIES)
def test_a_missing_part_of_ours_names_its_pip_install(group, name):
    with pytest.raises(MissingPart) as error:
        plugins.load(group, name)
    assert str(error.value) == (
        f"nothing installed provides {name!r} in {group}: "
        f"pip install {plugins.REMEDIES[group, name]}"
    )


@pytest.mark.usefixtures("theirs_installed")
def test_a_missing_part_of_a_third_party_names_what_is_installed():
    with pytest.raises(MissingPart) as error:
        plugins.load(plugins.STORAGE, "thrid")
    assert str(error.value) == (
        "nothing installed provides 'thrid' in gunicorn_prometheus.storage: "
        "installed are: broken, first, second"
    )


@pytest.mark.usefixtures("nothing_installed")
def test_where_nothing_is_installed_the_message_says_so():
    with pytest.raises(MissingPart, match="installed are: none"):
        plugins.load("gunicorn_prometheus.routes", "flask")


@pytest.mark.usefixtures("theirs_installed")
def test_only_the_part_that_is_asked_for_is_loaded():
    assert plugins.load(plugins.STORAGE, "first").__module__ == "plugin_first"
    assert loaded() == {"plugin_first"}


@pytest.mark.usefixtures("theirs_installed")
def test_finding_and_listing_loads_nothing():
    assert plugins.find(plugins.STORAGE, "broken").value == "plugin_broken:Backend"
    assert plugins.find(plugins.STORAGE, "other") is None
    assert plugins.names(plugins.STORAGE) == ["broken", "first", "second"]
    assert [p.name for p in plugins.members(plugins.COLLECTORS)] == ["aardvark", "zebra"]
    assert not loaded()


@pytest.mark.usefixtures("theirs_installed")
def test_a_part_that_cannot_be_imported_raises_its_own_error():
    with pytest.raises(ModuleNotFoundError, match="module_that_is_not_there"):
        plugins.load(plugins.STORAGE, "broken")


def test_importing_any_module_has_no_effect(run_python):
    said = run_python(
        "import importlib, logging, pkgutil, threading\n"
        "from prometheus_client import REGISTRY, values\n"
        "def state():\n"
        "    names = [metric.name for metric in REGISTRY.collect()]\n"
        "    return names, values.ValueClass, list(logging.root.handlers), threading.enumerate()\n"
        "before = state()\n"
        "import gunicorn_prometheus_core as core\n"
        "modules = [module.name for module in pkgutil.iter_modules(core.__path__)]\n"
        "for name in modules: importlib.import_module(f'{core.__name__}.{name}')\n"
        "assert state() == before\n"
        "print(*modules)"
    )
    assert {"merge", "settings", "text"} < set(said.split())
