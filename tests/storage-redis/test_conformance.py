"""The suite that every storage backend has to pass, on a real Redis."""

from __future__ import annotations

import os

import pytest

from gunicorn_prometheus_core.testing import Place, SharedStorageTests
from gunicorn_prometheus_core.testing.plugin import host  # noqa: F401  not this folder's
from gunicorn_prometheus_storage_redis.backend import RedisBackend


class RedisPlace(Place):
    backend = RedisBackend
    name = "redis"

    def __init__(self, server):
        self._server = server
        self.environ = {
            "REDIS_PORT": str(server.port),
            "GUNICORN_PROMETHEUS_PUBLISH_SECONDS": "0.1",
        }
        self.short_lived = {"REDIS_TTL_SECONDS": "0.5"}

    def stop(self):
        self._server.kill()

    def start(self):
        self._server.start()

    def pause(self):
        self._server.pause()
        os.waitpid(self._server.pid, os.WUNTRACED)  # it takes a moment

    def resume(self):
        self._server.go_on()

    def wipe(self):
        self._server.cli("flushall")

    def damage(self):
        for name in self._server.cli("keys", "*:metric:values").split():
            self._server.cli("hset", name, 0, "nothing that has the length of doubles")
        for name in self._server.cli("keys", "*:meta:keys").split():
            self._server.cli("setrange", name, 10, "?????????")


@pytest.fixture
def place(redis_server):
    redis_server.cli("flushall")
    yield RedisPlace(redis_server)
    redis_server.go_on()


class TestRedis(SharedStorageTests):
    """Everything that the protocol asks for."""
