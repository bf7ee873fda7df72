"""The check of the built site finds what it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PAGES = {
    "index.html": '<h1 id="top">Home</h1><a href="how-to/one.html#first">one</a>',
    "how-to/one.html": '<h2 id="first">One</h2><img src="../a%20b.png"><a href="#first">up</a>'
    '<a href="https://example.com/nothing">elsewhere</a><a href="..">home</a>',
    "a b.png": "",
}


def check(repository: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, repository / "docs/_site/check.py", root]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def test_a_site_without_faults_passes(repository: Path, root: Path) -> None:
    done = check(repository, root)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 pages" in done.stdout


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ('<a href="two.html">two</a>', "how-to/one.html: nothing is at two.html"),
        ('<a href="../index.html#no">no</a>', "no such place on that page: ../index.html#no"),
        ('<a href="#no">no</a>', "no such place on that page: #no"),
        ('<img src="../c.png">', "nothing is at ../c.png"),
        ('<script src="https://example.com/x.js"></script>', "loads https://example.com/x.js"),
        ('<link rel="stylesheet" href="//example.com/x">', "loads //example.com/x"),
    ],
)
def test_a_fault_is_found(repository: Path, root: Path, added: str, complaint: str) -> None:
    page = root / "how-to/one.html"
    page.write_text(page.read_text() + added)
    done = check(repository, root)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_site_is_a_fault(repository: Path, tmp_path: Path) -> None:
    assert check(repository, tmp_path).returncode == 1
