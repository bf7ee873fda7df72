"""Take the pictures of the page: a shop under load, one of whose workers has just been killed.

Needs `pip install playwright pillow`, Chromium, and for looks the font Inter. Takes a minute.
"""

import argparse
import contextlib
import http.client
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
PICTURES = {
    # name: width, height of the picture (None: of the whole page), colour scheme, scale
    "desktop-light": (1280, None, "light", 1),
    "desktop-dark": (1280, None, "dark", 1),
    "phone-light": (375, 1300, "light", 2),
    "phone-dark": (375, 1300, "dark", 2),
}
COLOURS = 200

CUSTOMERS = 24
#: How often customers ask for what.
WEIGHTS = {
    "/": 20,
    "/products": 24,
    "/products/search": 12,
    "/cart": 9,
    "/checkout": 5,
    "/account": 6,
    "/api/stock": 16,
    "/api/prices": 22,
    "/reports/daily": 1,
    "/wp-login.php": 1,
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def is_open(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def gunicorn(folder):
    """The shop, with four workers of four threads; gives the master and the ports."""
    application, metrics = free_port(), free_port()
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{application}"]
    command += ["--workers=4", "--threads=4", "--max-requests=900", "--max-requests-jitter=400"]
    command += ["--worker-class=gunicorn_prometheus_exporter.PrometheusThreadWorker"]
    command += ["--no-control-socket", "app:app"]
    ours = {"PROMETHEUS_METRICS_PORT": str(metrics), "PROMETHEUS_BIND_ADDRESS": "127.0.0.1"}
    with open(folder / "gunicorn.log", "wb") as log:
        process = subprocess.Popen(command, cwd=HERE, env=os.environ | ours, stdout=log, stderr=log)
    try:
        while not (is_open(application) and is_open(metrics)):
            if process.poll() is not None:
                sys.exit((folder / "gunicorn.log").read_text())
            time.sleep(0.05)
        yield psutil.Process(process.pid), application, metrics
    finally:
        process.terminate()
        process.wait(30)


def shop(port, over):
    """A customer, who comes more often at times."""
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            connection.request("GET", random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
            connection.getresponse().read()
        over.wait(random.expovariate(6 + 4 * math.sin(time.monotonic() / 7)))


@contextlib.contextmanager
def customers(port):
    over = threading.Event()
    threads = [threading.Thread(target=shop, args=(port, over)) for _ in range(CUSTOMERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def open_pages(browser, url):
    pages = {}
    for name, (width, height, scheme, scale) in PICTURES.items():
        size = {"width": width, "height": height or 800}
        page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=scale)
        page.goto(url)
        pages[name] = page
    return pages


def take(page, name, folder):
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=PICTURES[name][1] is None)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def kill_a_worker(master):
    processes = [p for p in master.children() if "gunicorn_prometheus_server" not in p.cmdline()]
    processes[2].kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--seconds", type=float, default=62, help="how long to look on before")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        master, application, metrics = stack.enter_context(gunicorn(scratch))
        stack.enter_context(customers(application))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.callback(browser.close)
        pages = open_pages(browser, f"http://127.0.0.1:{metrics}/")
        time.sleep(arguments.seconds / 2)
        master.send_signal(signal.SIGTTIN)
        time.sleep(arguments.seconds / 2)
        kill_a_worker(master)
        for name, page in pages.items():
            page.wait_for_selector("#problems li")
            take(page, name, arguments.folder)


if __name__ == "__main__":
    main()
