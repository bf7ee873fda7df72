"""Documented names: values and collector."""

from __future__ import annotations

from .._redis import CORE, giving

__all__ = [*CORE]  # noqa: PLE0604  they are texts
__getattr__ = giving(__name__, CORE)
