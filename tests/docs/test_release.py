"""What is checked before a release is found."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """What of the sources the check looks at."""
    for path in [repository, *repository.glob("packages/*")]:
        target = tmp_path / path.relative_to(repository)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("pyproject.toml", "CHANGELOG.md", "README.md", "LICENSE"):
            shutil.copy(path / name, target / name)
        for typed in path.glob("src/*/py.typed"):
            (target / typed.relative_to(path)).parent.mkdir(parents=True)
            shutil.copy(typed, target / typed.relative_to(path))
    return tmp_path


def check(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "scripts/check_release.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_is_as_it_should_be(repository: Path) -> None:
    done = check(repository)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        (
            "packages/core/pyproject.toml",
            'version = "0.1.0"',
            'version = "0.2.0"',
            "which is 0.2.0",
        ),
        ("packages/core/pyproject.toml", '"0.1.0"', '"new"', "no version to"),
        ("packages/core/CHANGELOG.md", "## [0.1.0]", "## [0.0.9]", "CHANGELOG.md is 0.0.9"),
        ("packages/core/CHANGELOG.md", "### Added", "<<<<<<< HEAD\n", "merge has left its marks"),
        ("packages/server/pyproject.toml", ">=0.1,<0.2", ">=0.1", "which 0.2 would be, too"),
        ("packages/server/pyproject.toml", ">=0.1,<0.2", ">=0.3,<0.4", "which is 0.1.0"),
        ("packages/server/pyproject.toml", "h11>=0.14,<1", "h11", "without the lowest"),
        ("pyproject.toml", "storage-redis>=0.1,<0.2", "storage-redis>=0.2,<0.3", "which is 0.1.0"),
    ],
)
def test_a_mistake_is_found(
    repository: Path, copy: Path, file: str, before: str, after: str, words: str
) -> None:
    text = (copy / file).read_text()
    assert before in text
    (copy / file).write_text(text.replace(before, after, 1))
    done = check(repository, "--root", copy)
    assert done.returncode == 1
    assert words in done.stderr


def test_what_is_published_has_a_date(repository: Path, copy: Path) -> None:
    for path in [copy / "CHANGELOG.md", *copy.glob("packages/*/CHANGELOG.md")]:
        path.write_text(path.read_text().replace("Unreleased", "2027-01-01", 1))
    assert check(repository, "--final", "--root", copy).returncode == 0
    path.write_text(path.read_text().replace("2027-01-01", "Unreleased", 1))
    done = check(repository, "--final", "--root", copy)
    assert "has no date in its CHANGELOG.md" in done.stderr


def test_a_tag_is_of_a_version_that_has_a_date(repository: Path, copy: Path) -> None:
    package = copy / "packages/core"
    version = re.search(r'^version = "(.+)"$', (package / "pyproject.toml").read_text(), re.M)
    assert version is not None
    tag = f"gunicorn-prometheus-core-v{version[1]}"
    change(package / "CHANGELOG.md", r"^(## \[.+\]) - .+$", r"\1 - Unreleased")
    told = ("--root", copy, "--tag")
    done = check(repository, *told, tag)
    assert done.returncode == 1
    assert f"{tag}: {version[1]} has no date in the CHANGELOG.md" in done.stderr

    change(package / "CHANGELOG.md", r"^(## \[.+\]) - Unreleased$", r"\1 - 2026-11-21")
    assert check(repository, *told, tag).returncode == 0  # of others nothing is asked
    assert f"is {version[1]}" in check(repository, *told, "gunicorn-prometheus-core-v9").stderr
    for other in ("v1.0", "core-v1.0", "gunicorn-prometheus-nothing-v1.0"):
        assert "must be the name of a distribution" in check(repository, *told, other).stderr


def change(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text()
    path.write_text(re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE))
