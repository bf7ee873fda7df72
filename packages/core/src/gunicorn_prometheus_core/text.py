"""The text formats of a scrape: negotiation, escaping, numbers, headers.

Sources: the Prometheus exposition formats
(https://prometheus.io/docs/instrumenting/exposition_formats/), OpenMetrics 1.0
(https://prometheus.io/docs/specs/om/open_metrics_spec/) and the escaping
schemes (https://prometheus.io/docs/instrumenting/escaping_schemes/).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from prometheus_client.utils import floatToGoString

ALLOW_UTF8 = "allow-utf-8"
UNDERSCORES = "underscores"
DOTS = "dots"
VALUES = "values"
_SCHEMES = frozenset({ALLOW_UTF8, UNDERSCORES, DOTS, VALUES})

_LEGACY_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*").fullmatch
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_TEXT_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


_PROTOBUF, _MESSAGE = "application/vnd.google.protobuf", "io.prometheus.client.MetricFamily"


@dataclass(frozen=True)
class Format:
    """An exposition format: version of the text and how unusual names are escaped."""

    openmetrics: bool
    version: str
    escaping: str = UNDERSCORES
    #: Prometheus' protobuf messages in place of a text.
    protobuf: bool = False

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        if self.protobuf:
            scheme = "" if self.escaping == UNDERSCORES else f"; escaping={self.escaping}"
            return f"{_PROTOBUF}; proto={_MESSAGE}; encoding=delimited{scheme}"
        media = "application/openmetrics-text" if self.openmetrics else "text/plain"
        # Version 0.0.4 knows no escaping parameter; strict parsers refuse unknown ones.
        scheme = "" if self.version in ("0.0.4", "0.0.1") else f"; escaping={self.escaping}"
        if self.openmetrics and self.escaping == UNDERSCORES:
            scheme = ""
        return f"{media}; version={self.version}; charset=utf-8{scheme}"


TEXT_0_0_4 = Format(openmetrics=False, version="0.0.4")
PROTOBUF = Format(openmetrics=False, version="", protobuf=True)
OPENMETRICS_1_0_0 = Format(openmetrics=True, version="1.0.0")


def _offer(media: str, parameters: dict[str, str]) -> Format | None:
    """The format we give for one media range of an Accept header."""
    version = parameters.get("version", "")
    escaping = parameters.get("escaping", UNDERSCORES)
    if escaping not in _SCHEMES:
        escaping = UNDERSCORES
    if media == "application/openmetrics-text" and version in ("1.0.0", "0.0.1", ""):
        if version == "1.0.0":
            return Format(openmetrics=True, version="1.0.0", escaping=escaping)
        return Format(openmetrics=True, version=version or "1.0.0")
    if media == _PROTOBUF and parameters.get("encoding") == "delimited":
        if parameters.get("proto") == _MESSAGE:
            return replace(PROTOBUF, escaping=escaping)
        return None
    if media in ("text/plain", "text/*", "*/*"):
        if media == "text/plain" and version == "1.0.0":
            return Format(openmetrics=False, version="1.0.0", escaping=escaping)
        if version in ("", "0.0.4"):
            return TEXT_0_0_4
    return None


def accepted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """What an Accept or Accept-Encoding header lists: value, parameters and quality of each.

    A quality that is no number is 0, as for something refused.
    """
    for item in header.split(","):
        value, *rest = (part.strip() for part in item.split(";"))
        parameters = {
            name.strip().lower(): text.strip().strip('"')
            for name, _, text in (part.partition("=") for part in rest)
        }
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        yield value.lower(), parameters, quality


def negotiate(accept: str | None) -> Format:
    """Choose the format for an Accept header; text 0.0.4 when nothing in it is ours.

    The highest quality wins, among equals the one named first (RFC 9110, 12.5.1).
    """
    best, best_quality = TEXT_0_0_4, 0.0
    for media, parameters, quality in accepted(accept or ""):
        offer = _offer(media, parameters)
        if offer is not None and quality > best_quality:
            best, best_quality = offer, quality
    return best


class NumberTexts(dict[float, bytes]):
    """Texts of sample values in the form Prometheus uses, remembered.

    Most values of a scrape are small whole numbers that come again in the next
    one; looking them up is several times faster than formatting them. What has
    not been asked for while as many others came is forgotten.
    """

    _MOST = 200_000

    def __init__(self) -> None:
        self._older: dict[float, bytes] = {}

    def __missing__(self, value: float) -> bytes:
        text = self._older.get(value)
        if text is None:
            # Below a million the two notations are the same, and repr is much faster.
            text = (repr(float(value)) if 0.0 <= value < 1e6 else floatToGoString(value)).encode()
        if value == value:  # noqa: PLR0124  NaN is not, and would never be found again
            if len(self) >= self._MOST:
                self._older = dict(self)
                self.clear()
            self[value] = text
        return text


def encoded(text: str) -> bytes:
    """A text in UTF-8, whatever it is made of.

    Half a surrogate, as Python has it in names of files that are no UTF-8, is a question mark.
    """
    return text.encode("utf-8", "replace")


def is_legacy(name: str, *, label: bool = False) -> bool:
    """Whether the name of a metric or a label is valid without quoting or escaping everywhere."""
    return (_LEGACY_LABEL if label else _LEGACY_NAME)(name) is not None


def escape_name(name: str, scheme: str, *, label: bool = False) -> str:
    """The name of a metric or a label in the given escaping scheme, without quotes."""

    def legal(char: str, index: int) -> bool:
        # A digit can't be the first; a colon is for metrics only.
        return is_legacy(f"_{char}" if index else char, label=label)

    if scheme == DOTS:
        return "".join(
            "__" if c == "_" else "_dot_" if c == "." else c if legal(c, i) else "__"
            for i, c in enumerate(name)
        )
    if scheme == ALLOW_UTF8 or is_legacy(name, label=label):
        return name
    if scheme == VALUES:
        return "U__" + "".join(
            "__" if c == "_" else c if legal(c, i) else f"_{ord(c):x}_" for i, c in enumerate(name)
        )
    return "".join(c if legal(c, i) else "_" for i, c in enumerate(name))


class SamplePrefixes:
    """Texts that stand before the values of samples, in one escaping scheme.

    The texts of names and of label pairs are remembered, since most of them
    occur in many samples.
    """

    def __init__(self, scheme: str = UNDERSCORES) -> None:
        self._names = _NameTexts(scheme)
        self._pairs = _PairTexts(scheme)

    def labels(self, pairs: Iterable[tuple[str, str]]) -> str:
        """The text of labels, in the order given."""
        return ",".join(map(self._pairs.__getitem__, pairs))

    def starts(self, name: str) -> tuple[bytes, bytes]:
        """How the lines of samples of that name begin: without labels, and with."""
        plain, opened, _ = self._names[name]
        return encoded(plain[1:]), encoded(opened[1:])

    def join(self, name: str, labels: str) -> bytes:
        """The text before the value, with its newline and space, given the text of the labels."""
        plain, opened, closed = self._names[name]
        return encoded(f"{opened}{labels}{closed}" if labels else plain)


class _PairTexts(dict[tuple[str, str], str]):
    _MOST = 200_000

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def __missing__(self, pair: tuple[str, str]) -> str:
        if len(self) >= self._MOST:
            self.clear()
        name, value = pair
        written = _written(name, self._scheme, label=True)
        text = self[pair] = f'{written}="{value.translate(_TEXT_ESCAPES)}"'
        return text


class _NameTexts(dict[str, tuple[str, str, str]]):
    """Text before the value without labels; text before and after labels."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def __missing__(self, name: str) -> tuple[str, str, str]:
        written = _written(name, self._scheme)
        if written.startswith('"'):
            texts = f"\n{{{written}}} ", f"\n{{{written},", "} "
        else:
            texts = f"\n{written} ", f"\n{written}{{", "} "
        self[name] = texts
        return texts


def _written(name: str, scheme: str, *, label: bool = False) -> str:
    """A name as it is written in a scheme, in quotes where it needs them."""
    if scheme == ALLOW_UTF8 and not is_legacy(name, label=label):
        return f'"{name.translate(_TEXT_ESCAPES)}"'
    return escape_name(name, scheme, label=label)


_CLASSIC_TYPES = {"stateset": "gauge", "unknown": "untyped", "gaugehistogram": "histogram"}


def exposed(family: str, kind: str, sample_names: Collection[str]) -> tuple[str, str]:
    """Name and type of a family where there are but the types of the classic text format."""
    if kind == "counter":
        return (family if family in sample_names else f"{family}_total"), kind
    if kind == "info":
        return f"{family}_info", "gauge"
    return family, _CLASSIC_TYPES.get(kind, kind)


def header(
    family: str, kind: str, help_text: str, sample_names: Collection[str], form: Format
) -> bytes:
    """The HELP and TYPE lines of a family, without the last newline: samples begin with theirs.

    ``family`` is the OpenMetrics name, without ``_total``. A counter whose
    samples lack ``_total`` is not expressible in OpenMetrics; it is given as
    ``unknown`` there, so that its documented name works in either format.
    """
    name = family
    if not form.openmetrics:
        name, kind = exposed(family, kind, sample_names)
    elif kind == "counter" and family in sample_names:
        kind = "unknown"
    escaped = _written(name, form.escaping)
    escapes = _TEXT_ESCAPES if form.openmetrics else _HELP_ESCAPES
    return encoded(f"# HELP {escaped} {help_text.translate(escapes)}\n# TYPE {escaped} {kind}")
