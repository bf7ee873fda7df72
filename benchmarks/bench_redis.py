"""What sharing a Redis costs: ours, and the exporter 0.2.4, on servers of their own."""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import bench_request as request
import redis
from _gunicorn import free_port, get, gunicorn, wait_until
from _measure import at_least, at_most, memory_folder, scratch, table
from _published_redis import cells
from _requests import NO_CONTROL_SOCKET, Side, compared, one_round, served
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.settings import Settings
from gunicorn_prometheus_core.text import TEXT_0_0_4
from gunicorn_prometheus_storage_mmap.backend import MmapBackend
from gunicorn_prometheus_storage_redis.backend import RedisBackend
from gunicorn_prometheus_storage_redis.storage import RedisStorage

HOSTS, WORKERS, SETS = 3, 4, 1_000
SCRAPES = 15
ROUNDS, PUBLISHED_ROUNDS = 80, 2
IDLE_SECONDS = 20.0


@contextlib.contextmanager
def server() -> Iterator[redis.Redis]:
    """A Redis that keeps nothing on a disk."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is missing: scripts/system-packages.sh")
    port = free_port()
    options = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--loglevel", "warning")
    command = [program, "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            wait_until(lambda: answers(client), lambda: "Redis")
            yield client
    finally:
        process.kill()
        process.wait()


def answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


def port_of(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


class Host:
    """The pages of some workers, and the storage that publishes them."""

    def __init__(self, folder: Path, port: int, name: str, sets: int, first: int = 0) -> None:
        folder.mkdir()
        self._pages = []
        for number in range(WORKERS if sets else 0):
            page = MmapedDict(str(folder / f"histogram_worker-{number}.db"))
            for key, value in cells(sets, first + number):
                page.write_value(key, value, 0)
            self._pages.append(page)
        self._keys = [key for key, _ in cells(sets, 0)]
        settings = Settings(redis_enabled=True, redis_port=port, instance=name)
        self._reader = MmapBackend().open(settings, str(folder))
        self.storage: RedisStorage = RedisBackend().open(settings, str(folder))

    def change(self, much: int) -> None:
        """Let values change, spread evenly."""
        for page in self._pages:
            for key in self._keys[:: max(1, len(self._keys) // much)]:
                page.write_value(key, page.read_value(key)[0] + 1, 0)

    def observations(self) -> float:
        buckets = [key for key in self._keys if "_bucket" in key]
        return sum(page.read_value(key)[0] for page in self._pages for key in buckets)

    def publish(self) -> None:
        self.storage.publish(self._reader.collect())

    def close(self) -> None:
        self.storage.close()
        self._reader.close()
        for page in self._pages:
            page.close()


@contextlib.contextmanager
def hosts(client: redis.Redis, sets: int, number: int = HOSTS) -> Iterator[list[Host]]:
    with memory_folder() as folder:
        made = [
            Host(folder / str(n), port_of(client), f"host-{n}", sets, n * WORKERS)
            for n in range(number)
        ]
        yield made
        for host in made:
            host.close()


def memory(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def commands(client: redis.Redis) -> int:
    """Commands processed so far, but for those of asking."""
    stats = client.info("commandstats")
    return sum(int(each["calls"]) for name, each in stats.items() if name not in ("cmdstat_info",))


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name == "app_request_seconds"
    }


def counted_commands() -> dict[str, list[int]]:
    """Commands of one publish that changes values, and of one scrape, by number of series."""
    counts: dict[str, list[int]] = {"publish": [], "scrape": []}
    for series in (100, 10_000):
        with server() as client, hosts(client, math.ceil(series / 12), 2) as (one, other):
            for _ in range(2):
                for each in (one, other):
                    each.change(500)
                    each.publish()
                one.storage.collect()
            for name, action in (("publish", one.publish), ("scrape", one.storage.collect)):
                one.change(500)
                before = commands(client)
                action()
                counts[name].append(commands(client) - before)
    return counts


def ours_scraped(client: redis.Redis) -> tuple[list[float], str, int]:
    """Seconds of scrapes, what they give, and the memory that the data takes."""
    empty = memory(client)
    with hosts(client, SETS) as publishing, hosts(client, 0, 1) as (reader,):
        for host in publishing:
            host.publish()
        used = memory(client) - empty
        exposition = Exposition(reader.storage)
        first = exposition.render(TEXT_0_0_4).decode()
        seconds = []
        for _ in range(SCRAPES):
            for host in publishing:
                host.change(500)
                host.publish()
            start = time.perf_counter()
            text = exposition.render(TEXT_0_0_4)
            seconds.append(time.perf_counter() - start)
        check_changes(text.decode(), publishing)
    return seconds, first, used


def check_changes(text: str, publishing: list[Host]) -> None:
    """The last scrape has what the pages have."""
    counted = sum(v for (name, _), v in samples(text).items() if name.endswith("_count"))
    stored = sum(host.observations() for host in publishing)
    if counted != stored:
        raise SystemExit(f"{counted} observations were scraped of {stored}")


def theirs_scraped(client: redis.Redis, python: str) -> tuple[float, str, int, int]:
    """The same of 0.2.4, and the number of commands."""
    script = str(Path(__file__).with_name("_published_redis.py"))
    port = str(port_of(client))
    empty = memory(client)
    fill = [python, script, "fill", port, str(SETS), str(HOSTS * WORKERS)]
    subprocess.run(fill, check=True, stderr=subprocess.DEVNULL)
    used = memory(client) - empty
    before = commands(client)
    done = subprocess.run(
        [python, script, "scrape", port],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    seconds, _, text = done.stdout.partition("\n")
    return float(seconds), text, used, commands(client) - before


def compare_scrapes(python: str) -> None:
    with server() as client:
        seconds, text, used = ours_scraped(client)
    with server() as client:
        their_seconds, their_text, their_used, their_commands = theirs_scraped(client, python)
    if samples(text) != samples(their_text):
        raise SystemExit("the two don't give the same samples")
    series = HOSTS * WORKERS * SETS * 12
    counts = counted_commands()
    table(
        f"{HOSTS * WORKERS} processes x {SETS:,} label sets x 12 cells",
        ["", "ours", "0.2.4"],
        [
            ["scrape, s", f"{median(seconds):.3f}", f"{their_seconds:.1f}"],
            [
                "Redis memory per series and process, bytes",
                f"{used / series:.1f}",
                f"{their_used / series:.0f}",
            ],
            ["commands per scrape", str(counts["scrape"][-1]), f"{their_commands:,}"],
        ],
    )
    for name, (few, many) in counts.items():
        met = "met" if few == many else "MISSED"
        print(f"commands per {name} with 100 and 10,000 series: {few} and {many} - {met}")
    at_least("scrape, 0.2.4 / ours", their_seconds / median(seconds), 100)
    at_least("memory, 0.2.4 / ours", their_used / used, 5)


def idle_bytes(folder: Path) -> None:
    """What a server that nobody asks anything sends to Redis."""
    with server() as client:
        config = folder / "idle.conf.py"
        config.write_text(NO_CONTROL_SOCKET + request.WORKER_CLASS)
        environ = {"REDIS_ENABLED": "true", "REDIS_PORT": str(port_of(client))}
        with gunicorn("_hello:app", config, workers=4, environ=environ) as running:
            running.ready()
            wait_until(lambda: get(running.metrics_port, "/metrics"), lambda: "metrics")
            wait_until(lambda: client.keys("*:state"), lambda: "a publish")
            time.sleep(5)
            before = int(client.info("stats")["total_net_input_bytes"])
            time.sleep(IDLE_SECONDS)
            sent = int(client.info("stats")["total_net_input_bytes"]) - before
        a_second = sent / IDLE_SECONDS
        met = "met" if a_second < 200 else "MISSED"
        print(f"sent by an idle instance: {a_second:.0f} bytes/s; target: under 200 - {met}")


def added_cpu(python: str) -> None:
    """CPU time that a request costs more than on plain Gunicorn, with files and with Redis."""
    with server() as client, server() as their_client:
        shared = (
            ("REDIS_ENABLED", "true"),
            ("REDIS_PORT", str(port_of(client))),
            ("GUNICORN_PROMETHEUS_SCOPE", "instance"),  # without the rounds before
        )
        theirs = (
            ("REDIS_ENABLED", "true"),
            ("REDIS_HOST", "127.0.0.1"),
            ("REDIS_PORT", str(port_of(their_client))),
            ("GUNICORN_WORKERS", "1"),
        )
        ours = NO_CONTROL_SOCKET + request.WORKER_CLASS
        sides = [
            Side("plain", sys.executable),
            Side("files", sys.executable, ours, plain="plain", metrics=served),
            Side("Redis", sys.executable, ours, environ=shared, plain="plain", metrics=served),
        ]
        rounds = [one_round(sides) for _ in range(ROUNDS)]
        their_sides = [
            Side("plain", python),
            Side("0.2.4 with Redis", python, PUBLISHED_CONFIG, environ=theirs, plain="plain"),
        ]
        their_rounds = [one_round(their_sides) for _ in range(PUBLISHED_ROUNDS)]
    rows, added = [], {}
    for title, results in (
        ("files", rounds),
        ("Redis", rounds),
        ("0.2.4 with Redis", their_rounds),
    ):
        own, plain = ([result[name] for result in results] for name in (title, "plain"))
        typical, means = compared(own, plain)
        added[title] = typical.median
        rows.append([title, typical.show(2, sign="+"), means.show(2, sign="+")])
    table(
        f"CPU us that a request costs more than on plain Gunicorn, {ROUNDS} rounds",
        ["sync, 1 worker", "added", "added (means)"],
        rows,
    )
    at_most("added with Redis / with files", added["Redis"] / added["files"], 1.1)
    ratio = added["0.2.4 with Redis"] / added["Redis"]
    print(f"added by 0.2.4 with Redis / by ours: {ratio:,.0f}x")


PUBLISHED_CONFIG = (
    request.WORKER_CLASS + "from gunicorn_prometheus_exporter.hooks import redis_when_ready\n"
    "when_ready = redis_when_ready\n"
)


def run(folder: Path) -> None:
    python = request.peers_python(folder)
    marker = folder / "redis-installed"
    if not marker.exists():
        subprocess.run([python, "-m", "pip", "install", "--quiet", "redis"], check=True)
        marker.touch()
    compare_scrapes(python)
    idle_bytes(folder)
    added_cpu(python)


if __name__ == "__main__":
    with scratch() as scratch_folder:
        run(scratch_folder)
