"""What the tests of rules and dashboards share."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gunicorn_prometheus_core.catalogue import FAMILIES

REPOSITORY = Path(__file__).resolve().parents[2]

#: Of Prometheus itself, for every target.
PROMETHEUS = ("up", "scrape_duration_seconds", "scrape_samples_scraped")
OF_TARGETS = {"job", "instance"}


def _samples() -> dict[str, tuple[str, set[str]]]:
    known: dict[str, tuple[str, set[str]]] = dict.fromkeys(PROMETHEUS, ("", OF_TARGETS))
    for family in FAMILIES:
        labels = OF_TARGETS | set(family.labels)
        if family.type == "histogram":
            known[f"{family.name}_bucket"] = family.name, labels | {"le"}
            known[f"{family.name}_count"] = known[f"{family.name}_sum"] = family.name, labels
        else:
            known[family.name] = family.name, labels
    return known


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def families_in() -> Callable[[str], set[str]]:
    """The families of the catalogue in an expression; fails for names and labels of none."""
    known = _samples()

    def families(expr: str) -> set[str]:
        found = set()
        # Names that a rule records have colons, and are none of ours.
        pattern = r"(?<![\w:\"$])((?:gunicorn|up|scrape)(?:_\w+)?)(?![\w:(])(?:{(.*?)})?"
        for name, matchers in re.findall(pattern, expr):
            assert name in known, f"{name} is no sample of the catalogue: {expr}"
            family, labels = known[name]
            named = set(re.findall(r"(\w+) *[=!]", re.sub('".*?"', '""', matchers)))
            assert named <= labels, f"{name} has no {named - labels}: {expr}"
            found.add(family)
        return found - {""}

    return families


@pytest.fixture(scope="session")
def promtool() -> Callable[..., str]:
    """Runs promtool: what it says if it finds something, else an empty text."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: scripts/system-packages.sh"

    def run(*arguments: object) -> str:
        command = [program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr if done.returncode else ""

    return run
