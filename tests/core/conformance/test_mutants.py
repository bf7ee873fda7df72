"""The example's backend with one defect at a time. Run by tests/core/test_conformance.py.

It is not collected by itself: it needs the example on the path.
"""

import mutants
import pytest
from gunicorn_metrics_sqlite import stored
from places import SqliteFile

from gunicorn_prometheus_core.testing import SharedStorageTests, seeing

seeing.DEADLINE_SECONDS = 4.0  # what is waited for here never comes


def tests_of(mutant):
    class Tests(SharedStorageTests):
        @pytest.fixture
        def place(self, tmp_path, monkeypatch):
            for name in ("zlib", "KEPT", "kept"):  # which some mutants change
                monkeypatch.setattr(stored, name, getattr(stored, name))
            folder = tmp_path / "place"
            folder.mkdir()
            place = SqliteFile(folder)
            place.backend = mutant
            place.environ = {**place.environ, "REDIS_PASSWORD": "s3cr3t"}
            yield place
            if place.lock is not None:
                place.lock.close()

    return Tests


for name in mutants.CAUGHT_BY:
    globals()[f"Test{name}"] = tests_of(getattr(mutants, name))
