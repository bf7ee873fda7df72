"""Whether the exporter process that these settings are for is well: for a container's health check.

It asks as a scraper would, at the first of the configured addresses, and needs
no password: what it asks for is open to everybody.
"""

from __future__ import annotations

import http.client
import socket
import ssl

from gunicorn_prometheus_core import listening
from gunicorn_prometheus_core.errors import reason
from gunicorn_prometheus_core.listening import Address
from gunicorn_prometheus_core.settings import Settings

from . import access

_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
#: First byte of what a TLS server answers to a greeting.
_HANDSHAKE = b"\x16"


class Unwell(Exception):
    """It isn't; says why."""


def ask(settings: Settings, *, ready: bool = False, seconds: float = 5.0) -> tuple[bool, str]:
    """Whether it answers, and with ``ready`` can read the metrics as well; and one line about it.

    Raises SettingsError.
    """
    try:
        return True, _asked(settings, ready, seconds)
    except Unwell as error:
        return False, f"unwell: {error}"


def _asked(settings: Settings, ready: bool, seconds: float) -> str:
    address = listening.addresses(settings.bind_address, settings.metrics_port)[0]
    tls = access.configured_tls(settings)
    path = "/-/ready" if ready else "/-/healthy"
    try:
        with _connect(address, seconds) as sock:
            if tls is None:
                said = _answer(sock, path)
            elif tls.clients != ssl.CERT_REQUIRED:
                with _trusting().wrap_socket(sock) as wrapped:
                    said = _answer(wrapped, path)
            else:
                said = _greet(sock)
    except (OSError, http.client.HTTPException) as error:
        late = isinstance(error, TimeoutError)
        why = f"no answer within {seconds:g} s" if late else reason(error)
        raise Unwell(f"{address}: {why}") from error
    return f"{said} at {address}"


def _connect(address: Address, seconds: float) -> socket.socket:
    if address.path:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(seconds)
            sock.connect(address.path)
        except BaseException:
            sock.close()
            raise
        return sock
    host = _LOOPBACKS.get(address.host, address.host)
    return socket.create_connection((host, address.port), seconds)


def _trusting() -> ssl.SSLContext:
    """For a process of ours on this machine, that we tell nothing: any certificate will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answer(sock: socket.socket, path: str) -> str:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    with http.client.HTTPResponse(sock) as response:
        response.begin()
        body = response.read(1000).decode("utf-8", "replace").strip()
        if response.status != 200:
            raise Unwell(f"status {response.status}: {body}")
        return body


def _greet(sock: socket.socket) -> str:
    """Whether there is a TLS server: all that one can learn who has no certificate."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    greeting = _trusting().wrap_bio(incoming, outgoing)
    try:
        greeting.do_handshake()
    except ssl.SSLWantReadError:
        sock.sendall(outgoing.read())
    if sock.recv(1) != _HANDSHAKE:
        raise Unwell("something answers that doesn't speak TLS")
    return "answers (it wants a certificate, so no more was asked)"
