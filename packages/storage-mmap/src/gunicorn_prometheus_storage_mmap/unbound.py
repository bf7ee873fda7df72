"""What a forked child finds in place of its parent's doubles."""

from __future__ import annotations

from collections.abc import Callable

from .page import Page


class Unbound:
    """Stands in for a page's doubles in a forked child until it records for the first time."""

    def __init__(self, page: Page, bind: Callable[[], object]) -> None:
        self._page = page
        #: Gets the child a slot if it has none yet, and with it the page doubles of its own.
        self._bind = bind

    def __getitem__(self, position: int) -> float:
        self._bind()
        value: float = self._page.view[position]
        return value

    def __setitem__(self, position: int, value: float) -> None:
        self._bind()
        self._page.view[position] = value
