"""What is said of an error, also of one that says nothing."""

from __future__ import annotations

import pytest

from gunicorn_prometheus_core.errors import StorageUnavailable, reason


class Closed(Exception):
    """As clients' libraries raise them, without a text."""


@pytest.mark.parametrize(
    ("error", "said"),
    [(Closed(), "Closed"), (Closed(" \n"), "Closed"), (Closed("line\n  by line"), "line by line")],
)
def test_a_reason_is_one_line_and_never_empty(error, said):
    assert reason(error) == said


@pytest.mark.parametrize(
    ("text", "cause", "said"),
    [
        ("", Closed(), "Closed"),
        ("", Closed("no more"), "no more"),
        ("", None, "StorageUnavailable"),
        ("cache:11211: ", Closed(), "cache:11211: Closed"),
        ("cache:11211:", None, "cache:11211: StorageUnavailable"),
        ("cache:11211: no more", Closed(), "cache:11211: no more"),
        ("cache:11211: no\nmore", Closed(), "cache:11211: no more"),
    ],
)
def test_an_unavailable_storage_says_why_though_the_library_does_not(text, cause, said):
    with pytest.raises(StorageUnavailable) as raised:
        raise StorageUnavailable(text) from cause
    assert str(raised.value) == said
