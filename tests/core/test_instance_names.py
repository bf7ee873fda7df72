"""How a host is named in a storage that hosts share."""

import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from gunicorn_prometheus_core.instances import name
from gunicorn_prometheus_core.settings import Settings


def test_it_belongs_to_the_pages(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(0o750)
    second.mkdir(0o700)
    settings = Settings(instance="web 1:a")
    one = name(settings, str(first))
    assert one.startswith("web_1_a-")
    assert name(settings, str(first)) == one != name(settings, str(second))
    assert name(Settings(), str(first)) == f"{socket.gethostname()}-{one.rpartition('-')[2]}"
    (run,) = os.listdir(first)
    assert run.endswith(".run")  # what a fresh start removes
    assert (first / run).stat().st_mode & 0o777 == 0o640
    assert (second / run).stat().st_mode & 0o777 == 0o600


def test_all_who_ask_at_once_get_the_same(tmp_path):
    with ThreadPoolExecutor(20) as pool:
        names = list(pool.map(lambda _: name(Settings(), str(tmp_path)), range(200)))
    assert len(set(names)) == 1
    assert len(os.listdir(tmp_path)) == 1


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    """As on a full disk, where whoever wants the name asks again and again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            name(Settings(), str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []
    assert name(Settings(), str(tmp_path))
