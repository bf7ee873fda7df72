import json

import pytest

from gunicorn_prometheus_core.series import Series, parse

GOOD = json.dumps(["family", "sample", {"a": "1"}, "help"]).encode()
BAD = {
    "empty": b"",
    "not json": b"[",
    "half": GOOD[:-5],
    "two": GOOD + b"," + GOOD,
    "not utf-8": b'["family\xff", "sample", {}, "help"]',
    "too few": b'["family", "sample", {}]',
    "too many": b'["family", "sample", {}, "help", 1]',
    "a number": b"1",
    "null": b"null",
    "a text of four": b'"abcd"',
    "an object of four": b'{"a": 1, "b": 2, "c": 3, "d": 4}',
    "family no text": b'[1, "sample", {}, "help"]',
    "sample no text": b'["family", null, {}, "help"]',
    "labels no object": b'["family", "sample", ["a"], "help"]',
    "label value no text": b'["family", "sample", {"a": 1}, "help"]',
    "help no text": b'["family", "sample", {}, []]',
    "nested too deep": b"[" * 100_000,
    "number too long": b"[" + b"1" * 100_000 + b"]",
    "half a surrogate in a label": rb'["family", "sample", {"a": "\ud800"}, "help"]',
    "half a surrogate in a name": rb'["family\udfff", "sample", {}, "help"]',
    "half a surrogate in a label's name": rb'["family", "sample", {"\ud800": "a"}, "help"]',
    "half a surrogate in the help": rb'["family", "sample", {}, "\ud800"]',
}


def test_a_key_is_decoded():
    assert list(parse([GOOD])) == [Series("family", "sample", {"a": "1"}, "help")]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_is_no_key_costs_only_itself(bad):
    good = Series("family", "sample", {"a": "1"}, "help")
    assert list(parse([GOOD, bad, GOOD])) == [good, None, good]


def test_many_keys_are_decoded_in_their_order():
    keys = [json.dumps(["f", f"s{i}", {}, ""]).encode() for i in range(2500)]
    keys[1234] = b"garbage"
    names = [series.sample if series else None for series in parse(keys)]
    assert names == [f"s{i}" if i != 1234 else None for i in range(2500)]
