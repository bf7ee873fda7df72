"""Tests that explain the rule they test, and that can't be lost by accident."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., None])

WHERE, GUIDE = "gunicorn_prometheus_core.storage", "docs/how-to/backends.md"


class RuleBroken(AssertionError):
    """A backend does not do what the protocol says. The message explains the rule."""


def rule(written: str) -> Callable[[Test], Test]:
    """A test of a rule, which is its docstring; ``written`` says where in the protocol it stands.

    Whatever the test raises becomes :class:`RuleBroken`, with the rule.
    """

    def decorate(test: Test) -> Test:
        text = " ".join(inspect.cleandoc(test.__doc__ or "").split())
        explained = (
            f"The rule: {text}\nWritten in: gunicorn_prometheus_core.storage.{written}, {GUIDE}"
        )

        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            try:
                test(*args, **kwargs)
            except Exception as error:
                what = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                raise RuleBroken(f"{what}{error}\n\n{explained}") from error

        run.__rule__ = explained  # type: ignore[attr-defined]  # what marks it for the guard
        return run  # type: ignore[return-value]  # a function with the same signature

    return decorate


def instead(reason: str) -> Callable[[Test], Test]:
    """Says that a test takes the place of one of the suite's, and why."""
    if not reason.strip():
        raise TypeError("instead() needs a reason")

    def decorate(test: Test) -> Test:
        test.__instead__ = reason  # type: ignore[attr-defined]  # for the guard
        return test

    return decorate


class Guarded:
    """A class of tests whose subclasses can't lose one of its tests without saying so."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name, own in vars(cls).items():
            is_rule = any(
                hasattr(getattr(base, name, None), "__rule__") for base in cls.__mro__[1:]
            )
            if is_rule and not hasattr(own, "__instead__") and not hasattr(own, "__rule__"):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a test of the suite, whose rule would not be "
                    "tested any more; give it another name, or say why with @instead('...')"
                )
