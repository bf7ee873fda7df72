"""What the system tells of sockets that listen."""

import contextlib
import os
import socket

import pytest

from gunicorn_prometheus_master import backlog


class Listener:
    """As Gunicorn has them."""

    def __init__(self, sock, name="listener"):
        self.sock = sock
        self._name = name

    def __str__(self):
        return self._name


@pytest.fixture(params=["tcp", "tcp6", "unix", "abstract"])
def listener(request, tmp_path):
    if request.param == "tcp":
        sock = socket.create_server(("127.0.0.1", 0), backlog=9)
    elif request.param == "tcp6":
        sock = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=9)
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "socket") if request.param == "unix" else f"\0{tmp_path}")
        sock.listen(9)
    with sock:
        yield Listener(sock)


def test_the_connections_that_wait_and_the_most_that_can_are_told(listener, until):
    def told():
        return dict(backlog.measure([listener]))["listener"]

    assert told() == (0, 9)
    with contextlib.ExitStack() as stack:
        for waiting in (1, 2, 3):
            client = stack.enter_context(socket.socket(listener.sock.family))
            client.connect(listener.sock.getsockname())
            until(lambda: told() == (waiting, 9))  # noqa: B023  called at once
        listener.sock.accept()[0].close()
        assert told() == (2, 9)


def test_a_socket_of_which_nothing_is_told_is_left_out(listener):
    closed = socket.socket()
    closed.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        listeners = [Listener(closed, "closed"), Listener(datagrams, "datagrams"), listener]
        assert [name for name, _ in backlog.measure(listeners)] == ["listener"]


def test_measuring_leaves_nothing_open(listener):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        list(backlog.measure([listener]))
    assert len(os.listdir("/proc/self/fd")) == before
