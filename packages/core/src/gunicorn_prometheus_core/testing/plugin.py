"""The suite's fixtures: ``pytest_plugins = ["gunicorn_prometheus_core.testing.plugin"]``.

It is no entry point of pytest's: that would load it in every test run of every application that has
the exporter installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .hosts import Host
from .place import Place


@pytest.fixture
def host(place: Place, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes hosts on the fixture ``place``, by name, with further variables.

    They end with the test. With ``directory`` a host has the pages of that one.
    """
    made: list[Host] = []

    def make(name: str = "host", directory: str | None = None, **environ: str) -> Host:
        if directory is None:
            path = tmp_path / f"{name}-{len(made)}"
            path.mkdir()
            directory = str(path)
        environ = {"GUNICORN_PROMETHEUS_INSTANCE": name, **environ}
        made.append(Host(place, directory, **environ))
        return made[-1]

    yield make
    for each in made:
        each.close()
