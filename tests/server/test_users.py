"""Basic authentication, rates and headers, by a web configuration file."""

from __future__ import annotations

import base64
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

REFUSED = "gunicorn_exporter_refused_total"


def hashed(password, cost=4):
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(name, password):
    given = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {given}"}


@pytest.fixture
def guarded(start, certificates):
    """Starts a server with these users: names and passwords."""

    def start_server(cost=4, **users):
        lines = [f"  {name}: {hashed(password, cost)}\n" for name, password in users.items()]
        return start(env=certificates.web_config("basic_auth_users:\n" + "".join(lines)))

    return start_server


def test_users_get_in_by_their_passwords(guarded):
    server = guarded(alice="secret", bob="hunter2", eve="größer")
    for name, password in (("alice", "secret"), ("bob", "hunter2"), ("eve", "größer")):
        for _ in range(2):
            status, _, body = server.ask(**basic(name, password))
            assert status == 200
            assert b"jobs_total" in body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("alice", "secret\0"),
        basic("bob", "secret"),
        basic("", "secret"),
        {"Authorization": "Bearer secret"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"alice").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode()},
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/", "/missing"])
def test_nobody_else_does(guarded, headers, path):
    server = guarded(alice="secret")
    status, answered, body = server.ask(path, **headers)
    assert status == 401
    assert answered["www-authenticate"].startswith("Basic ")
    assert b"jobs_total" not in body
    status, _, body = server.ask(**basic("alice", "secret"))
    assert f'{REFUSED}{{reason="unauthorized"}} 1.0'.encode() in body
    assert "secret" not in server.log


def test_health_and_readiness_are_open_to_all(guarded):
    server = guarded(alice="secret")
    assert server.ask("/-/healthy")[::2] == (200, b"healthy\n")
    assert server.ask("/-/ready")[::2] == (200, b"ready\n")


def test_a_long_password_counts_as_far_as_bcrypt_looks(guarded):
    server = guarded(alice="x" * 72)
    assert server.ask(**basic("alice", "x" * 200))[0] == 200
    assert server.ask(**basic("alice", "x" * 71))[0] == 401


def test_changed_users_are_in_force_at_once_also_on_open_connections(start, certificates, until):
    server = start(env=certificates.web_config(f"basic_auth_users:\n  alice: {hashed('old')}\n"))
    assert server.ask(**basic("alice", "old"))[0] == 200
    certificates.web_config(f"basic_auth_users:\n  alice: {hashed('new')}\n")
    until(lambda: server.ask(**basic("alice", "new"))[0] == 200)
    assert server.ask(**basic("alice", "old"))[0] == 401


@pytest.mark.long
def test_who_was_let_in_once_does_not_wait_for_strangers_who_guess(guarded):
    server = guarded(cost=10, alice="secret")
    assert server.ask(**basic("alice", "secret"))[0] == 200
    statuses, stop = [], threading.Event()

    def guess(number):
        while not stop.is_set():
            statuses.append(server.ask(**basic("alice", f"guess {number} {len(statuses)}"))[0])

    with ThreadPoolExecutor(40) as pool:
        for number in range(40):
            pool.submit(guess, number)
        try:
            while len(statuses) < 80:
                assert server.ask(**basic("alice", "secret"))[0] == 200
        finally:
            stop.set()
    # Few are verified, and the others are told to come again.
    assert set(statuses) == {401, 503}


@pytest.mark.long
def test_guessing_gets_a_fifth_of_a_cpu_at_most(guarded):
    server = guarded(cost=10, alice="secret")

    def cpu_seconds():
        return time.clock_gettime_ns(~server.pid << 3 | 2) / 1e9

    one = time.monotonic()
    assert server.ask(**basic("alice", "first"))[0] == 401
    one = time.monotonic() - one
    began, used = time.monotonic(), cpu_seconds()
    for number in range(4):
        assert server.ask(**basic("alice", f"guess {number}"))[0] == 401
    share = (cpu_seconds() - used) / (time.monotonic() - began)
    assert share < 0.5, f"{share:.0%} of a CPU for passwords that take {one:.3f} s"


@pytest.mark.long
def test_an_unknown_name_takes_as_long_as_a_known_one(guarded):
    server = guarded(cost=9, alice="secret", bob="hunter2")

    def seconds(name):
        times = []
        for number in range(7):
            began = time.clock_gettime_ns(~server.pid << 3 | 2)
            assert server.ask(**basic(name, f"wrong {number}"))[0] == 401
            times.append(time.clock_gettime_ns(~server.pid << 3 | 2) - began)
        return statistics.median(times)

    known, unknown = seconds("alice"), seconds("nobody")
    assert 0.6 < known / unknown < 1.6


def test_headers_are_those_of_the_file(start, certificates):
    server = start(
        env=certificates.web_config(
            "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
            "    Content-Security-Policy: default-src 'none'\n"
        )
    )
    for path in ("/metrics", "/", "/missing", "/-/healthy"):
        _, headers, _ = server.ask(path)
        assert headers["x-frame-options"] == "deny"
        assert headers.get_all("content-security-policy") == ["default-src 'none'"]


def test_a_rate_is_kept(start, certificates):
    server = start(env=certificates.web_config("rate_limit:\n  interval: 1h\n  burst: 3\n"))
    assert [server.ask()[0] for _ in range(5)] == [200, 200, 200, 429, 429]
    assert server.ask("/-/healthy")[0] == 200
