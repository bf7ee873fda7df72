"""Whatever goes wrong with metrics, the application answers; what is lost is counted, and said."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REQUESTS = "gunicorn_worker_requests_total"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    assert os.geteuid() == 0, "mounting a file system needs root; CI runs as root"
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", where], check=True)
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


def test_full_disk(server, load, small_disk):
    gunicorn = server("-w", "2", PROMETHEUS_MULTIPROC_DIR=str(small_disk / "pages")).start()
    with load(gunicorn, threads=2) as client:
        client.more(50)
        for _ in range(4):
            assert gunicorn.get("/series?400") == (200, b"made")
        client.more(200)
        client.pause()
    now = gunicorn.scrape()
    # Requests for /series came when there was no room for their own series any more.
    assert now.sum(REQUESTS) >= client.total + 1
    for endpoint in {path for path, status in client.answers if status == 200}:
        counted = now.sum("gunicorn_http_request_duration_seconds_count", endpoint=endpoint)
        assert counted == client.answers[endpoint, 200], endpoint
    assert now.sum("gunicorn_exporter_series_dropped_total") > 0
    assert 0 < gunicorn.log.count("no room for more series") <= 2


def hurt_truncate(page: Path) -> None:
    os.truncate(page, 100)


def hurt_empty(page: Path) -> None:
    os.truncate(page, 0)


def hurt_zero(page: Path) -> None:
    overwrite(page, bytes(page.stat().st_size))


def hurt_randomly(page: Path) -> None:
    overwrite(page, random.Random(1).randbytes(page.stat().st_size))


def overwrite(page: Path, data: bytes) -> None:
    with page.open("r+b") as file:
        file.write(data)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("hurt", [hurt_truncate, hurt_empty, hurt_zero, hurt_randomly])
@pytest.mark.parametrize("stored", ["counter", "histogram", "gauge_liveall"])
def test_corrupt_page(server, load, wait, tmp_path, hurt, stored):
    pages = tmp_path / "pages"
    gunicorn = server("-w", "1", PROMETHEUS_MULTIPROC_DIR=str(pages)).start()
    with load(gunicorn, threads=2) as client:
        client.more(100)
        client.pause()
        before = gunicorn.wait_counted(REQUESTS, client.total + 1)
        worker = gunicorn.workers()
        client.resume()
        hurt(pages / f"{stored}_worker-0.db")
        client.more(300)
        wait(
            lambda: gunicorn.scrape().sum("gunicorn_exporter_pages_quarantined_total") >= 1,
            "the page is set aside and counted",
        )
        counted = gunicorn.scrape().sum(REQUESTS)
        client.more(200)

        def counting_again():
            client.more(10)
            return gunicorn.scrape().sum(REQUESTS) > counted

        wait(counting_again, "requests are counted again")
        client.pause()
    assert gunicorn.workers() == worker, f"the worker has died\n{gunicorn.log}"
    assert gunicorn.scrape().sum(REQUESTS) >= before.sum(REQUESTS)
    assert gunicorn.log.count("set the corrupt page") == 1


def test_directory_not_writable(server, tmp_path):
    """A file system that is mounted read-only stops even root."""
    assert os.geteuid() == 0, "mounting a file system needs root; CI runs as root"
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", where], check=True)
    try:
        gunicorn = server("-w", "2", PROMETHEUS_MULTIPROC_DIR=str(where / "pages")).start()
        gunicorn.get("/")
        gunicorn.wait_counted(REQUESTS, 2)
        assert gunicorn.log.count("can't record into PROMETHEUS_MULTIPROC_DIR") == 1
        gunicorn.stop()
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


def test_directory_out_of_reach_for_a_while(server, wait, tmp_path):
    """What a worker counts before it gets a slot is not lost."""
    pages, elsewhere = tmp_path / "pages", tmp_path / "elsewhere"
    gunicorn = server("-w", "1", PROMETHEUS_MULTIPROC_DIR=str(pages)).start()
    gunicorn.get("/")
    gunicorn.wait_counted(REQUESTS, 2)
    pages.rename(elsewhere)
    pages.touch()  # a file, so that no directory can be made in its place
    (worker,) = gunicorn.workers()
    os.kill(worker, signal.SIGKILL)
    wait(lambda: gunicorn.workers() and worker not in gunicorn.workers(), "it is replaced")
    for _ in range(5):
        assert gunicorn.get("/")[0] == 200
    pages.unlink()
    elsewhere.rename(pages)
    gunicorn.wait_counted(REQUESTS, 2 + 5)
    lines = gunicorn.log.splitlines()
    said = [line.partition("] ")[2] for line in lines if "counting goes on in memory" in line]
    assert said
    # Once of the directory and of each page, by each process that it concerns.
    assert len(set(said)) == len(said)


def test_directory_removed(server, load, wait, tmp_path):
    """Workers own their slots again, and nobody gets a slot that is owned."""
    pages = tmp_path / "pages"
    gunicorn = server("-w", "2", PROMETHEUS_MULTIPROC_DIR=str(pages)).start()
    with load(gunicorn, threads=2) as client:
        client.more(100)
        shutil.rmtree(pages)
        client.more(100)
        wait(
            lambda: gunicorn.is_scrapable() and gunicorn.scrape().sum("gunicorn_workers") == 2,
            "both workers are seen again",
        )
        client.pause()
        os.kill(gunicorn.workers()[0], signal.SIGKILL)
        wait(lambda: gunicorn.scrape().sum("gunicorn_workers") == 2, "its successor is seen")
    slots = {f"{name}.slot" for name in ("exporter-0", "master-0", "worker-0", "worker-1")}
    wait(lambda: {path.name for path in pages.glob("*.slot")} == slots, "each owns its slot")


def test_metrics_port_taken(server, wait):
    gunicorn = server("-w", "1")
    with socket.create_server(("127.0.0.1", gunicorn.metrics_port)):
        gunicorn.start(ready=False)
        wait(gunicorn.answers, "the application answers")
        wait(lambda: "can't serve metrics at" in gunicorn.log, "it is said")
        assert "PROMETHEUS_METRICS_PORT" in gunicorn.log
        for _ in range(20):
            assert gunicorn.get("/")[0] == 200
    wait(gunicorn.is_scrapable, "scraping works once the port is free")
    now = gunicorn.scrape()
    assert now.sum("app_hellos_total") == 20
    assert now.sum("gunicorn_exporter_bind_failures_total") >= 1
    assert gunicorn.log.count("can't serve metrics at") == 1


@pytest.mark.timeout(180)
def test_exporter_killed_twenty_times(server, load, wait):
    gunicorn = server("-w", "1").start()
    with load(gunicorn, threads=2) as client:
        for i in range(20):
            killed = gunicorn.exporter()
            os.kill(killed, signal.SIGKILL)
            with contextlib.suppress(OSError):
                gunicorn.scrape()
            wait(
                lambda gone=killed: gunicorn.exporter() != gone,
                f"the exporter is started again after being killed {i + 1} times",
                60,
            )
        client.more(100)
        client.pause()
    now = gunicorn.wait_counted(REQUESTS, client.total + 1)
    assert now.sum("gunicorn_exporter_restarts_total") == 20


def test_settings_that_cannot_be_used_stop_the_start(server):
    gunicorn = server("-w", "1", PROMETHEUS_METRICS_PORT="70000")
    gunicorn.environment["PROMETHEUS_METRICS_PORT"] = "70000"
    gunicorn.start(ready=False)
    assert gunicorn.process.wait(20) == 1
    assert "PROMETHEUS_METRICS_PORT='70000' (from the environment): must be" in gunicorn.log
    assert "Traceback" not in gunicorn.log


def test_a_storage_that_is_not_installed_stops_the_server_and_says_which_are(server):
    gunicorn = server("-w", "1", GUNICORN_PROMETHEUS_STORAGE="elsewhere").start(ready=False)
    assert gunicorn.process.wait(20) == 1
    assert (
        "GUNICORN_PROMETHEUS_STORAGE='elsewhere' (from the environment): must be the name"
        in gunicorn.log
    )
    assert "installed are: mmap, redis" in gunicorn.log
    assert "Traceback" not in gunicorn.log
