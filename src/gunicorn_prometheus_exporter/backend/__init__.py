"""Documented names about the storage in Redis; each is loaded when it is used."""

from __future__ import annotations

from .._redis import CORE, SERVICE, giving

__all__ = [*CORE, *SERVICE]  # noqa: PLE0604  they are texts
__getattr__ = giving(__name__, (*CORE, *SERVICE))
