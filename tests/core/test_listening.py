"""Addresses and the sockets that listen there."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

import pytest

from gunicorn_prometheus_core.listening import Address, addresses, forget, listen, url


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def opened():
    """Opens sockets, which are closed with the test."""
    with contextlib.ExitStack() as stack:

        def open_sockets(*wanted, existing=()):
            sockets = listen(wanted, existing)
            for sock in sockets:
                stack.enter_context(sock)
            return sockets

        yield open_sockets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", [Address("0.0.0.0", 9091)]),
        ("localhost:80", [Address("localhost", 80)]),
        ("::", [Address("::", 9091)]),
        ("[::1]", [Address("::1", 9091)]),
        ("[::1]:80", [Address("::1", 80)]),
        ("unix:/run/m.sock", [Address(path="/run/m.sock")]),
        ("127.0.0.1, [::1]:80 ,unix:/m", [
            Address("127.0.0.1", 9091), Address("::1", 80), Address(path="/m"),
        ]),
    ],
)  # fmt: skip
def test_addresses_as_they_are_written(text, expected):
    assert list(addresses(text, 9091)) == expected
    assert addresses(",".join(map(str, expected)), 1) == tuple(expected)


def connects(address):
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else None
    with socket.socket(family or socket.AF_INET) as sock:
        sock.settimeout(5)
        return sock.connect_ex(address.path or (address.host, address.port)) == 0


def test_each_address_gets_a_socket(opened, free_port, tmp_path):
    wanted = [Address("127.0.0.1", free_port), Address("::1", free_port)]
    wanted.append(Address(path=str(tmp_path / "m.sock")))
    sockets = opened(*wanted)
    assert all(map(connects, wanted))
    assert [url(sock, "http") for sock in sockets] == [
        f"http://127.0.0.1:{free_port}/metrics",
        f"http://[::1]:{free_port}/metrics",
        f"unix:{tmp_path}/m.sock (http://localhost/metrics)",
    ]
    assert not any(sock.get_inheritable() or sock.getblocking() for sock in sockets)


def test_an_ipv6_wildcard_alone_takes_ipv4_as_well(opened, free_port):
    opened(Address("::", free_port))
    assert connects(Address("127.0.0.1", free_port))
    assert connects(Address("::1", free_port))


def test_beside_an_ipv4_wildcard_it_does_not(opened, free_port):
    opened(Address("0.0.0.0", free_port), Address("::", free_port))
    assert connects(Address("127.0.0.1", free_port))
    assert connects(Address("::1", free_port))


def test_existing_sockets_are_used_again(opened, free_port, tmp_path):
    wanted = [Address("::", free_port), Address(path=str(tmp_path / "m.sock"))]
    before = opened(*wanted)
    copies = [socket.socket(fileno=os.dup(sock.fileno())) for sock in before]
    after = opened(*reversed(wanted), existing=copies)
    assert after == copies[::-1]


def test_where_one_address_cannot_be_had_none_is_kept(free_port, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(OSError, match=f"127.0.0.1:{free_port}: Address already in use"),
    ):
        listen([Address(path=str(tmp_path / "m.sock")), Address("127.0.0.1", free_port)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_unix_socket_is_for_owner_and_group_and_goes_with_us(tmp_path):
    path = tmp_path / "m.sock"
    sockets = listen([Address(path=str(path))])
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    forget(sockets)
    assert not path.exists()


def test_a_unix_socket_that_nobody_listens_at_is_replaced(opened, tmp_path):
    address = Address(path=str(tmp_path / "m.sock"))
    for sock in listen([address]):
        sock.close()
    assert not connects(address)
    opened(address)
    assert connects(address)


def test_a_unix_socket_that_somebody_listens_at_is_not(opened, tmp_path):
    address = Address(path=str(tmp_path / "m.sock"))
    opened(address)
    with pytest.raises(OSError, match="in use"):
        listen([address])
    assert connects(address)


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="no socket"):
        listen([Address(path=str(path))])
    assert path.read_text() == "data"
