"""The place that the backend keeps things in, reached without it."""

import os
import sqlite3
from contextlib import closing

import pytest
from gunicorn_metrics_sqlite import SqliteBackend

from gunicorn_prometheus_core.testing import Place

pytest_plugins = ["gunicorn_prometheus_core.testing.plugin"]


class SqliteFile(Place):
    backend = SqliteBackend
    name = "sqlite"

    def __init__(self, folder):
        self.folder, self.away = folder, folder.with_name("away")
        self.path = folder / "metrics.sqlite"
        self.environ = {"GUNICORN_PROMETHEUS_SQLITE_PATH": str(self.path)}
        self.short_lived = {"GUNICORN_PROMETHEUS_SQLITE_TTL_SECONDS": "1"}
        self.lock = None

    def stop(self):
        self.folder.rename(self.away)

    def start(self):
        self.away.rename(self.folder)

    def pause(self):
        self.lock = sqlite3.connect(self.path, isolation_level=None)
        self.lock.execute("BEGIN EXCLUSIVE")

    def resume(self):
        self.lock.close()

    def wipe(self):
        self.path.unlink()

    def damage(self):
        with self.path.open("r+b") as file:
            for page in range(2, self.path.stat().st_size // 4096):
                file.seek(4096 * page + 2048)
                file.write(os.urandom(512))


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "place"
    folder.mkdir()
    return SqliteFile(folder)


@pytest.fixture
def query(place):
    """Runs SQL in the file."""

    def run(sql, *values):
        with closing(sqlite3.connect(place.path)) as database, database:
            return database.execute(sql, values).fetchall()

    return run
