"""TLS as it is configured, and the context that speaks it."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from gunicorn_prometheus_core.errors import SettingsError

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
#: What of a client's certificate is checked, by the names of Go's crypto/tls.
POLICIES = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
#: OpenSSL's names of the cipher suites that Go's crypto/tls takes to be secure.
CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
#: Those of TLS 1.3, which are always there: neither Go nor Python before 3.15 can choose them.
CIPHERS_13 = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)
#: OpenSSL's names of curves, by Go's.
CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}


@dataclass(frozen=True)
class Pem:
    """Certificates or a key: in a file, or as a text.

    ``said`` is what messages call it, with its value (unless that is a text)
    and where it is written.
    """

    said: str
    path: str = ""
    text: str = ""

    def read(self) -> str:
        """Its contents. Raises SettingsError."""
        if not self.path:
            return self.text
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError as error:
            raise SettingsError(f"{self.said}: can't be read: {error.strerror}") from None


@dataclass(frozen=True)
class TLS:
    """How to speak TLS. Names are OpenSSL's; nothing in ``ciphers`` means OpenSSL's choice."""

    certificate: Pem
    key: Pem
    authorities: Pem | None = None
    authorities_folder: str | None = None
    clients: ssl.VerifyMode = ssl.CERT_NONE
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ciphers: tuple[str, ...] = ()
    ciphers_said: str = ""
    prefer_server_ciphers: bool = True
    curve: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that all this is read from."""
        pems = (self.certificate, self.key, self.authorities)
        return tuple(pem.path for pem in pems if pem is not None and pem.path)


def context(tls: TLS) -> ssl.SSLContext:
    """A context for a server, from the files as they are now. Raises SettingsError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version, made.maximum_version = tls.minimum, tls.maximum
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if tls.prefer_server_ciphers:
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        made.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # Connections are kept for the next scrape; so there is nothing to resume, and no cache of
    # sessions for strangers to fill.
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    if tls.ciphers:
        try:
            made.set_ciphers(":".join(tls.ciphers))
        except ssl.SSLError:
            raise SettingsError(
                f"{tls.ciphers_said}: this system's OpenSSL allows none of them"
            ) from None
    if tls.curve is not None:
        made.set_ecdh_curve(tls.curve)
    _load_identity(made, tls.certificate, tls.key)
    if tls.clients != ssl.CERT_NONE:
        _load_authorities(made, tls)
    made.verify_mode = tls.clients
    return made


def _load_identity(made: ssl.SSLContext, certificate: Pem, key: Pem) -> None:
    if "-----BEGIN CERTIFICATE-----" not in certificate.read():
        raise SettingsError(f"{certificate.said}: holds no certificate in PEM form")
    if "PRIVATE KEY-----" not in key.read():
        raise SettingsError(f"{key.said}: holds no private key in PEM form")

    def refuse() -> str:
        raise SettingsError(
            f"{key.said}: is encrypted, and nobody is there to be asked for its password; "
            "it has to be a key without one"
        )

    try:
        with _file(certificate) as certificate_file, _file(key) as key_file:
            made.load_cert_chain(certificate_file, key_file, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(
                f"{key.said}: is not the key of the certificate, {certificate.said}"
            ) from None
        raise SettingsError(
            f"{certificate.said}, {key.said}: can't be used: {error.reason or error}"
        ) from None
    except OSError as error:
        raise SettingsError(f"{key.said}: can't be read: {error.strerror}") from None


def _load_authorities(made: ssl.SSLContext, tls: TLS) -> None:
    if tls.authorities is not None:
        # Between certificates there may be a text in any language, which Python would not take.
        text = tls.authorities.read().encode("ascii", "ignore").decode()
        try:
            made.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError):
            raise SettingsError(
                f"{tls.authorities.said}: holds no certificates in PEM form"
            ) from None
    if tls.authorities_folder is not None:
        made.load_verify_locations(capath=tls.authorities_folder)


@contextlib.contextmanager
def _file(pem: Pem) -> Iterator[str]:
    """A path that OpenSSL can read it from; a text goes through a pipe, and to no disk."""
    if pem.path:
        yield pem.path
        return
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        try:
            rest = os.write(writing, pem.text.encode()) - len(pem.text.encode())
        except BlockingIOError:
            rest = -1
        if rest:
            raise SettingsError(f"{pem.said}: is too long to stand here; it has to be in a file")
        os.close(writing)
        writing = -1
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
