"""Take the pictures of docs/page.md: a shop under load, one of whose workers has just been killed.

python docs/page/screenshots.py            # writes docs/page/*.png
python docs/page/screenshots.py --folder /tmp/pictures --seconds 20
"""

import argparse
import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
CHROMIUM = "/usr/bin/chromium"
PICTURES = {
    "desktop-light": ({"width": 1280, "height": 800}, "light", 1),
    "desktop-dark": ({"width": 1280, "height": 800}, "dark", 1),
    "phone-light": ({"width": 375, "height": 812}, "light", 2),
    "phone-dark": ({"width": 375, "height": 812}, "dark", 2),
}
WEIGHTS = {
    "/": 20, "/products": 24, "/products/search": 12, "/cart": 9, "/checkout": 5, "/account": 6,
    "/api/stock": 16, "/api/prices": 22, "/reports/daily": 1, "/wp-login.php": 1,
}  # fmt: skip


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def open_port(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def gunicorn(folder):
    """The shop, with eight workers of two threads; gives the master and the ports."""
    application, metrics = free_port(), free_port()
    command = [sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{application}"]
    command += ["--workers=4", "--threads=4", "--max-requests=6000", "--no-control-socket"]
    command += ["--worker-class=gunicorn_prometheus_exporter.PrometheusThreadWorker", "app:app"]
    ours = {"PROMETHEUS_METRICS_PORT": str(metrics), "PROMETHEUS_BIND_ADDRESS": "127.0.0.1"}
    with open(folder / "gunicorn.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=HERE, env=os.environ | ours, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not (open_port(application) and open_port(metrics)):
            if process.poll() is not None:
                sys.exit((folder / "gunicorn.log").read_text())
            time.sleep(0.05)
        yield psutil.Process(process.pid), application, metrics
    finally:
        process.terminate()
        process.wait(30)


def shop(port, over):
    """One customer after the other."""
    paths, weights = list(WEIGHTS), list(WEIGHTS.values())
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            connection.request("GET", random.choices(paths, weights)[0])
            connection.getresponse().read()
        over.wait(random.expovariate(8))


def workers(master):
    return [p for p in master.children() if "gunicorn_prometheus_server" not in p.cmdline()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE)
    parser.add_argument("--seconds", type=float, default=62, help="how long to look on before")
    arguments = parser.parse_args()
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        master, application, metrics = stack.enter_context(gunicorn(scratch))
        customers = [threading.Thread(target=shop, args=(application, over)) for _ in range(10)]
        for customer in customers:
            customer.start()
        stack.callback(lambda: [customer.join() for customer in customers])
        stack.callback(over.set)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        stack.callback(browser.close)
        pages = {}
        for name, (size, scheme, scale) in PICTURES.items():
            page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=scale)
            page.goto(f"http://127.0.0.1:{metrics}/")
            pages[name] = page
        time.sleep(arguments.seconds / 2)
        master.send_signal(signal.SIGHUP)
        time.sleep(arguments.seconds / 2)
        killed = workers(master)[2]
        killed.kill()
        for name, page in pages.items():
            page.wait_for_selector("#problems li")
            page.screenshot(path=arguments.folder / f"{name}.png", full_page=True)


if __name__ == "__main__":
    main()
