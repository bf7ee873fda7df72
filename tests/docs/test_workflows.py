"""GitHub runs the same sessions as `nox`, on the same versions."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def noxfile(repository: Path) -> dict[str, Any]:
    """The literals that noxfile.py gives to names of its own."""
    tree = ast.parse((repository / "noxfile.py").read_text())
    found: dict[str, Any] = {"sessions": []}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AugAssign) and isinstance(node.value, ast.List):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) == "nox.options.sessions":
                found["sessions"] += ast.literal_eval(node.value)
            elif isinstance(node, ast.Assign):
                found[ast.unparse(target)] = ast.literal_eval(node.value)
    return found


@pytest.fixture
def jobs(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())["jobs"]


def test_ci_runs_every_session(jobs: dict[str, Any], noxfile: dict[str, Any]) -> None:
    assert jobs["session"]["strategy"]["matrix"]["session"] == noxfile["sessions"]


def test_make_runs_every_session(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    (commands,) = re.findall(r"^test: .+\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    assert "@exec $(BIN)/nox" in commands.replace("\t", "").splitlines()  # those of noxfile.py


def test_ci_runs_on_every_version(jobs: dict[str, Any], noxfile: dict[str, Any]) -> None:
    main = jobs["session"]["container"]["image"].removeprefix("python:").partition("-")[0]
    others = jobs["python"]["strategy"]["matrix"]["python"]
    assert sorted([main, *others]) == sorted(noxfile["PYTHONS"])
    assert jobs["matrix"]["strategy"]["matrix"]["gunicorn"] == noxfile["GUNICORNS"]


def test_a_called_workflow_does_not_wait_for_its_caller(repository: Path) -> None:
    """One that is called has the caller's name, and GitHub ignores the case of groups."""
    folder = repository / ".github/workflows"
    calls = []
    for caller in folder.glob("*.yml"):
        workflow = yaml.safe_load(caller.read_text())
        for job in workflow["jobs"].values():
            if (called := job.get("uses", "")).startswith("./"):
                theirs = yaml.safe_load((repository / called).read_text())["concurrency"]["group"]
                groups = (workflow["concurrency"]["group"], theirs)
                calls.append(
                    [group.replace("${{ github.workflow }}", workflow["name"]) for group in groups]
                )
    assert calls
    for own, called in calls:
        assert own.lower() != called.lower()


def test_nothing_is_passed_unless_all_is(jobs: dict[str, Any]) -> None:
    assert set(jobs["passed"]["needs"]) == jobs.keys() - {"passed"}


def test_actions_are_commits(repository: Path) -> None:
    for path in (repository / ".github/workflows").glob("*.yml"):
        for action in re.findall(r"uses: (.+)$", path.read_text(), re.MULTILINE):
            assert action.startswith("./") or re.search(r"@[0-9a-f]{40} # v[\d.]+$", action)


def test_the_release_takes_what_its_tag_names(repository: Path, tmp_path: Path) -> None:
    workflow = yaml.safe_load((repository / ".github/workflows/release.yml").read_text())
    (step,) = (step for step in workflow["jobs"]["build"]["steps"] if step.get("id") == "tag")
    dist = tmp_path / "dist"
    dist.mkdir()
    endings = ("-py3-none-any.whl", ".tar.gz")
    for name in ("gunicorn_prometheus_core-0.2.0", "gunicorn_prometheus_storage_mmap-0.2.0"):
        for ending in endings:
            (dist / f"{name}{ending}").touch()
    environment = {"GITHUB_REF_NAME": "gunicorn-prometheus-storage-mmap-v0.2.0"}
    environment |= {"GITHUB_OUTPUT": str(tmp_path / "output"), "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, check=True)
    taken = {path.name for path in (tmp_path / "upload").iterdir()}
    assert taken == {f"gunicorn_prometheus_storage_mmap-0.2.0{ending}" for ending in endings}
    told = (tmp_path / "output").read_text()
    assert told == "distribution=gunicorn-prometheus-storage-mmap\n"
