"""The conformance suite finds every defect, says which rule is broken, and can't lose a test."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gunicorn_prometheus_core.testing import SharedStorageTests, StorageTests, instead
from gunicorn_prometheus_core.testing.rules import Guarded, RuleBroken, rule

HERE = Path(__file__).parent / "conformance"
EXAMPLE = Path(__file__).parents[2] / "examples/storage-sqlite"
ENTRY_POINT = "[gunicorn_prometheus.storage]\nsqlite = gunicorn_metrics_sqlite:SqliteBackend\n"


def mutants():
    """The names of the mutants, and of the tests that have to find them."""
    for node in ast.parse((HERE / "mutants.py").read_text()).body:
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            yield node.name, node.decorator_list[0].args[0].value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example, as if it were installed, and the mutants beside it."""
    folder = tmp_path_factory.mktemp("example")
    info = folder / "gunicorn_metrics_sqlite-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: gunicorn-metrics-sqlite\nVersion: 0.1.0\n"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    shutil.copytree(EXAMPLE / "src", folder, dirs_exist_ok=True)
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    shutil.copy(EXAMPLE / "tests/conftest.py", folder / "places.py")
    (folder / "conftest.py").write_text(
        'pytest_plugins = ["gunicorn_prometheus_core.testing.plugin"]\n'
    )
    return folder


def run(folder, *arguments):
    options = ["-q", "-rA", "--tb=short", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_mutant_is_caught_by_the_test_whose_name_says_why(folder):
    ours = dict(mutants())
    assert len(ours) > 30
    wanted = " or ".join(f"(Test{mutant} and {test})" for mutant, test in ours.items())
    # Four at once: most of them wait for what never comes.
    done = run(folder, "test_mutants.py", "-n", "4", "-k", wanted)
    caught = set(re.findall(r"^FAILED test_mutants.py::Test(\w+)::", done.stdout, re.MULTILINE))
    assert set(ours) - caught == set(), done.stdout[-5000:]
    assert "ERROR" not in done.stdout.partition("short test summary")[2]
    explained = re.findall(r"The rule: \w+", done.stdout)
    assert len(explained) >= len(ours)


def test_the_mutants_are_about_every_test_that_is_about_backends():
    tests = {name for name in dir(SharedStorageTests) if name.startswith("test_")}
    assert tests == {test for _, test in mutants()}


def test_a_test_that_fails_says_what_was_seen_and_which_rule_that_breaks(folder):
    done = run(folder, "test_mutants.py", "-k", "TestAddsInsteadOfReplacing and twice")
    assert "RuleBroken: after publishing 3 three times: expected {'x': 3.0}, and there is" in (
        done.stdout
    )
    assert "The rule: Publishing is idempotent: repeating it" in done.stdout
    where = "gunicorn_prometheus_core.storage.Storage.publish, docs/how-to/backends.md"
    assert where in done.stdout


def test_every_test_of_the_suite_explains_its_rule():
    for name in dir(SharedStorageTests):
        if name.startswith("test_"):
            said = getattr(SharedStorageTests, name).__rule__
            assert re.match(r"The rule: .{20,}\nWritten in: ", said), name


def test_a_test_cannot_be_replaced_without_a_reason():
    with pytest.raises(TypeError, match=r"Mine.test_keys_may_be_any_bytes replaces a test of the"):
        type("Mine", (StorageTests,), {"test_keys_may_be_any_bytes": None})

    @instead("this place takes texts only")
    def test_keys_may_be_any_bytes(self):
        """Nothing."""

    body = {"test_keys_may_be_any_bytes": test_keys_may_be_any_bytes, "test_mine": lambda _: None}
    assert issubclass(type("Mine", (StorageTests,), body), Guarded)
    with pytest.raises(TypeError, match="a reason"):
        instead(" ")


def test_what_a_backend_raises_is_explained_too():
    @rule("Storage.publish")
    def test():
        """Nothing is raised."""
        raise KeyError("x")

    with pytest.raises(
        RuleBroken, match=r"KeyError: 'x'\n\nThe rule: Nothing is raised\."
    ) as error:
        test()
    assert isinstance(error.value.__cause__, KeyError)


def test_without_pytest_the_package_says_what_is_missing():
    code = "import sys\nsys.modules['pytest'] = None\nimport gunicorn_prometheus_core.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: the conformance suite needs pytest: pip install pytest" in done.stderr
