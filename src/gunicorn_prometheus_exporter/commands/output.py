"""Printing: colours and columns on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_GAP = 2


def is_terminal() -> bool:
    """Whether somebody looks at what is printed (https://no-color.org is heeded elsewhere)."""
    return sys.stdout.isatty()


def styled(text: str, style: str) -> str:
    """The text in a style, if it is printed in colour."""
    if not is_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_CODES[style]}m{text}\033[0m"


def heading(text: str) -> None:
    """Print a heading."""
    print(styled(text, "bold"))


def rows(lines: Iterable[Sequence[str]]) -> None:
    """Print a table: in columns on a terminal, else with tabs between the cells."""
    table = [list(line) for line in lines]
    if not is_terminal():
        for line in table:
            print("\t".join(line).rstrip())
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    room = shutil.get_terminal_size().columns
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        whole = "  " + (" " * _GAP).join(cells).rstrip()
        if len(whole) <= room:
            print(whole)
        else:  # too narrow for columns: the first cell, and what belongs to it below
            print("  " + line[0])
            for cell in filter(None, line[1:]):
                print("      " + styled(cell, "dim"))
