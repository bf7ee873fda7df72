"""The web configuration file that Prometheus exporters have in common, read strictly.

The format is exporter-toolkit's:
https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
What this server can't honour is an error and not ignored, because most of it
is there to keep somebody out.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from gunicorn_prometheus_core.errors import SettingsError

from .tls import CIPHERS, CIPHERS_13, CURVES, POLICIES, TLS, VERSIONS, Pem

#: Headers that can be set, and their values where not every one will do.
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
_TLS_FIELDS = (
    *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file"),
    *("client_auth_type", "client_allowed_sans", "min_version", "max_version"),
    *("cipher_suites", "prefer_server_cipher_suites", "curve_preferences"),
)
_SUITES = (*CIPHERS, *sorted(CIPHERS_13))
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_BCRYPT_COSTS = range(4, 17)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")


@dataclass(frozen=True)
class RateLimit:
    """A request every ``interval`` seconds, and ``burst`` of them at once."""

    interval: float
    burst: int


@dataclass(frozen=True)
class WebConfig:
    """What such a file says. ``users`` are names and bcrypt hashes."""

    tls: TLS | None = None
    #: Names of which a client's certificate must have one, if there are any.
    allowed_names: frozenset[str] = frozenset()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    rate_limit: RateLimit | None = None


def read(path: str, said: str) -> WebConfig:
    """Read the file; ``said`` is what names it in messages. Raises SettingsError."""
    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        raise SettingsError(f"{said}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{said}: is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{said}{line}: is not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{said}: is not YAML: {' '.join(str(error).split())}") from None
    if root is None:
        return WebConfig()
    whole = _At(path, "", root).entries(
        ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
    )
    tls, names = _tls(whole["tls_server_config"]) if "tls_server_config" in whole else (None, ())
    return WebConfig(
        tls,
        frozenset(names),
        _http(whole.get("http_server_config")),
        _users(whole.get("basic_auth_users")),
        _rate_limit(whole.get("rate_limit")),
    )


@dataclass(frozen=True)
class _At:
    """A place in the file: what stands there, and how it is called."""

    path: str
    name: str
    node: yaml.Node

    @property
    def place(self) -> str:
        return f"(from {self.path}, line {self.node.start_mark.line + 1})"

    @property
    def said(self) -> str:
        """What to call it in messages, without its value."""
        return f"{self.name or 'the file'} {self.place}"

    def fail(self, problem: str) -> NoReturn:
        raise SettingsError(f"{self.said}: {problem}")

    def refuse(self, allowed: str) -> NoReturn:
        raise SettingsError(f"{self.name}={self.text()!r} {self.place}: {allowed}")

    def entries(self, known: Collection[str] = ()) -> dict[str, _At]:
        """What is in a map, by name: only these names, any if there are none of them."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail("must be a map")
        lines: dict[str, int] = {}
        found: dict[str, _At] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                _At(self.path, self.name, key).fail("a key must be a name")
            name = f"{self.name}.{key.value}" if self.name else key.value
            if key.value in lines:
                _At(self.path, name, key).fail(f"is there already, in line {lines[key.value]}")
            if known and key.value not in known:
                _At(self.path, name, key).fail(f"is unknown; known are {', '.join(known)}")
            lines[key.value] = key.start_mark.line + 1
            # A field that is left empty counts as not given; a user without a hash must not.
            empty = isinstance(value, yaml.ScalarNode) and value.value in ("", "null", "~")
            if not (known and empty):
                found[key.value] = _At(self.path, name, value)
        return found

    def items(self) -> list[_At]:
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail("must be a list")
        return [_At(self.path, self.name, item) for item in self.node.value]

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail("must be a text")
        return str(self.node.value)

    def flag(self) -> bool:
        if self.node.tag != "tag:yaml.org,2002:bool":
            self.refuse("must be true or false")
        return self.text().lower() in ("true", "yes", "on")

    def one_of(self, known: Collection[str]) -> str:
        if self.text() not in known:
            self.refuse(f"must be one of {', '.join(known)}")
        return self.text()


def _tls(at: _At) -> tuple[TLS, list[str]]:
    """What it says of TLS, and the names that clients may have."""
    given = at.entries(_TLS_FIELDS)
    certificate, key = _pem(given, "cert"), _pem(given, "key")
    if certificate is None:
        at.fail("cert_file is missing")
    if key is None:
        at.fail("key_file is missing")
    clients, authorities = _clients(given)
    allowed = given.get("client_allowed_sans")
    names = [item.text() for item in allowed.items()] if allowed is not None else []
    if allowed is not None and names and clients != ssl.CERT_REQUIRED:
        allowed.fail("needs client_auth_type: RequireAndVerifyClientCert")
    ciphers, minimum, maximum = _ciphers(given)
    order = given.get("prefer_server_cipher_suites")
    tls = TLS(
        certificate,
        key,
        authorities,
        clients=clients,
        minimum=minimum,
        maximum=maximum,
        ciphers=ciphers,
        ciphers_said=given["cipher_suites"].said if ciphers else "",
        prefer_server_ciphers=order is None or order.flag(),
        curve=_curve(given.get("curve_preferences")),
    )
    return tls, names


def _pem(given: Mapping[str, _At], name: str) -> Pem | None:
    """Certificates or a key, in a file beside this one or as a text in it."""
    file, text = given.get(f"{name}_file"), given.get(name)
    if file is not None and text is not None:
        file.fail(f"and {text.said}: not both")
    if file is not None:
        path = os.path.join(os.path.dirname(file.path), file.text())
        return Pem(f"{file.name}={file.text()!r} {file.place}", path=path)
    return Pem(text.said, text=text.text()) if text is not None else None


def _clients(given: Mapping[str, _At]) -> tuple[ssl.VerifyMode, Pem | None]:
    """What is checked of clients' certificates, and where those have to come from."""
    authorities = _pem(given, "client_ca")
    policy = given.get("client_auth_type")
    if policy is not None and policy.text() in _UNVERIFIED:
        policy.refuse(
            "takes certificates without verifying them, which is not supported; "
            "RequireAndVerifyClientCert verifies them, NoClientCert asks for none"
        )
    clients = POLICIES[policy.one_of(POLICIES)] if policy is not None else ssl.CERT_NONE
    if authorities is not None and clients == ssl.CERT_NONE:
        raise SettingsError(
            f"{authorities.said}: needs client_auth_type: RequireAndVerifyClientCert, or "
            "VerifyClientCertIfGiven, which lets those in who have no certificate"
        )
    if policy is not None and authorities is None and clients != ssl.CERT_NONE:
        policy.refuse("needs client_ca_file, the authorities that certificates may come from")
    return clients, authorities


def _ciphers(
    given: Mapping[str, _At],
) -> tuple[tuple[str, ...], ssl.TLSVersion, ssl.TLSVersion]:
    """Cipher suites up to TLS 1.2, lowest version, highest version."""
    low, high = given.get("min_version"), given.get("max_version")
    minimum = VERSIONS[low.one_of(VERSIONS)] if low is not None else VERSIONS["TLS12"]
    maximum = VERSIONS[high.one_of(VERSIONS)] if high is not None else VERSIONS["TLS13"]
    suites = given.get("cipher_suites")
    names = [] if suites is None else [item.one_of(_SUITES) for item in suites.items()]
    ciphers = tuple(CIPHERS[name] for name in names if name in CIPHERS)
    if names and not ciphers:
        minimum = VERSIONS["TLS13"]  # There are none for a version before.
    if high is not None and minimum > maximum:
        high.refuse("leaves no version, with that min_version and those cipher_suites")
    return ciphers, minimum, maximum


def _curve(at: _At | None) -> str | None:
    """The one curve to use; Python's ssl can be told no more of them before 3.15."""
    if at is None:
        return None
    names = [item.one_of(CURVES) for item in at.items()]
    if len(names) > 1:
        at.fail("more than one can't be set; leave it out for OpenSSL's own choice")
    return CURVES[names[0]] if names else None


def _http(at: _At | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of all answers."""
    given = at.entries(("http2", "headers")) if at is not None else {}
    if "http2" in given:
        # Either value is fine: a server that allows HTTP/2 needs not speak it with anybody.
        given["http2"].flag()
    headers = given["headers"].entries(_HEADERS) if "headers" in given else {}
    return tuple(
        (name.lower().encode(), _header(value, _HEADERS[name])) for name, value in headers.items()
    )


def _header(at: _At, allowed: Collection[str]) -> bytes:
    value = at.text().strip()
    if allowed and value.lower() not in allowed:
        at.refuse(f"must be one of {', '.join(allowed)}")
    if not (value.isascii() and value.isprintable()):
        at.refuse("must be one line of ASCII characters")
    return value.encode()


def _users(at: _At | None) -> dict[bytes, bytes]:
    users = {}
    for name, value in (at.entries() if at is not None else {}).items():
        if ":" in name:
            value.fail("a user name can't contain a colon")
        found = _BCRYPT.fullmatch(value.text())
        if not found:
            value.fail("must be a bcrypt hash, $2y$10$ and so on, as of `htpasswd -nBC 10 NAME`")
        if int(found[1]) not in _BCRYPT_COSTS:
            value.fail(f"bcrypt with a cost of {int(found[1])}; it must be from 4 to 16")
        users[name.encode()] = value.text().encode()
    return users


def _rate_limit(at: _At | None) -> RateLimit | None:
    given = at.entries(("interval", "burst")) if at is not None else {}
    if "interval" not in given:
        return None
    interval = _seconds(given["interval"])
    burst = given.get("burst")
    if burst is not None and not burst.text().isdecimal():
        burst.refuse("must be a whole number")
    number = int(burst.text()) if burst is not None else 0
    if interval and not number:
        (burst or given["interval"]).fail("with a burst of 0 no request is ever allowed")
    return RateLimit(interval, number) if interval else None


def _seconds(at: _At) -> float:
    if at.text() == "0":
        return 0.0
    if not _DURATION.fullmatch(at.text()):
        at.refuse("must be a duration such as 500ms, 1s or 1m30s; 0 for no limit")
    parts = re.findall(r"([\d.]+)([a-zµ]+)", at.text())
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
