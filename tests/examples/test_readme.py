"""The page that leads through the examples: its commands run, and show what it says."""

from __future__ import annotations

import re
import subprocess

import pytest


@pytest.fixture
def blocks(shop):
    """The blocks of the page, with the ports of the shop."""
    page = (shop.folder / "README.md").read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def containing(blocks, language, text):
    (block,) = [block for kind, block in blocks if kind == language and text in block]
    return block


def at(shop):
    return {
        "PROMETHEUS_METRICS_PORT": str(shop.metrics_port),
        "PROMETHEUS_BIND_ADDRESS": "127.0.0.1",
    }


def test_the_first_steps(shop, blocks):
    shop.start(containing(blocks, "console", "basic.conf.py"), **at(shop))
    commands = containing(blocks, "console", "curl -X POST").splitlines()
    for command in commands[:-1]:
        assert _run(command) in ("tea\n", "coffee\n")
    shop.wait_counted("gunicorn_worker_requests_total", 2)
    shown = _run(commands[-1]).splitlines()
    assert set(containing(blocks, "text", "shop_orders").splitlines()) <= set(shown)
    shop.end()


def _run(command):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("number", [0, 1])
def test_applications_need_one_line(shop, blocks, number):
    commands = containing(blocks, "console", "PrometheusUvicornWorker").splitlines()
    assert len(commands) == 2
    bind = {"GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{shop.port}"}
    shop.start(commands[number], **bind, **at(shop))
    shop.order("tea")
    shop.wait_counted("shop_orders_total", 1)
    shop.end()


def test_the_option_stands_in_the_environment(shop, blocks):
    shop.start(containing(blocks, "console", "export GUNICORN_CMD_ARGS"))
    shop.order("tea")
    scrape = shop.wait_counted("shop_orders_total", 1)
    assert scrape.sum("gunicorn_workers") == 2
    assert "gthread" in shop.log
    shop.end()
