"""Documented names: beginning and ending."""

from __future__ import annotations

from .._redis import SERVICE, giving

__all__ = [*SERVICE]  # noqa: PLE0604  they are texts
__getattr__ = giving(__name__, SERVICE)
