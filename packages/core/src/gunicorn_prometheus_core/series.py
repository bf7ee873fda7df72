"""Storage keys understood: which family, sample and labels a stored double belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_AT_ONCE = 1000


class Series(NamedTuple):
    """A storage key, decoded. ``labels`` are in the order of their names."""

    family: str
    sample: str
    labels: dict[str, str]
    help: str


def parse(keys: Sequence[bytes]) -> Iterator[Series | None]:
    """Decode keys, in order; None in place of one that is not a key.

    Many are decoded in one call of the JSON parser, which is what makes the
    first scrape of a large directory bearable.
    """
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        text = b",".join(some)
        # JSON allows half a surrogate, written as an escape; no text can have one.
        escaped = b"\\u" in text
        try:
            decoded = json.loads(b"[%b]" % text)
        except (ValueError, RecursionError):
            decoded = ()
        if len(decoded) != len(some):
            decoded = [_decode_alone(key) for key in some]
        for item in decoded:
            try:
                family, sample, labels, help_text = item
                texts = "".join((family, sample, help_text, *labels.values()))
                if escaped:
                    "".join((texts, *labels)).encode()
                yield Series(family, sample, labels, help_text)
            except (TypeError, ValueError, AttributeError):
                yield None


def _decode_alone(key: bytes) -> object:
    try:
        return json.loads(key)
    except (ValueError, RecursionError):
        return None
