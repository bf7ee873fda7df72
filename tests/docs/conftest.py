"""What the tests of the documentation share."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def pages() -> dict[str, str]:
    """Every page about the product, by its path in the repository."""
    patterns = ("README.md", "docs/**/*.md", "packages/*/README.md", "examples/**/*.md")
    paths = sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))
    return {str(path.relative_to(REPOSITORY)): path.read_text() for path in paths}


def _wait_for(condition: Callable[[], Any], what: Callable[[], object], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s; last seen: {what()}")
        time.sleep(0.02)
    return result


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    """Gives what a condition gives as soon as that is true; fails after so many seconds."""
    return _wait_for


def _open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def is_open() -> Callable[[int], bool]:
    """Whether somebody listens at a port of the loopback interface."""
    return _open
