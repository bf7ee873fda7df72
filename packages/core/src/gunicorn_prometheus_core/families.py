"""Families as they are written: header, and samples in blocks that are computed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from .text import Format, NumberTexts, SamplePrefixes, header

_NOTHING: Mapping[bytes, bytes] = {}


class Texts:
    """The texts that rendering keeps: of numbers, and of sample names and labels by scheme."""

    def __init__(self) -> None:
        self.numbers: NumberTexts = NumberTexts()
        self._prefixes: dict[str, SamplePrefixes] = {}

    def prefixes(self, scheme: str) -> SamplePrefixes:
        """The prefixes in that escaping scheme."""
        if scheme not in self._prefixes:
            self._prefixes[scheme] = SamplePrefixes(scheme)
        return self._prefixes[scheme]


class Block:
    """Samples of one family that are computed and written together."""

    def __init__(self, prefixes: list[bytes], compute: Callable[[Any], Iterable[float]]) -> None:
        self._prefixes = prefixes
        self._compute = compute

    def samples(self, totals: Any) -> Iterable[tuple[bytes, float]]:
        """The texts before values, and the values in ``totals``."""
        return zip(self._prefixes, self._compute(totals), strict=True)

    def write(self, totals: Any, texts: Texts, behind: Mapping[bytes, bytes]) -> list[bytes]:
        """Pieces of the sample lines, each line after a newline, for the values in ``totals``.

        ``behind`` is what to write behind values, by the text before them.
        """
        pieces = [b""] * (2 * len(self._prefixes))
        pieces[0::2] = self._prefixes
        pieces[1::2] = map(texts.numbers.__getitem__, self._compute(totals))
        if behind:
            for i, prefix in enumerate(self._prefixes):
                if prefix in behind:
                    pieces[2 * i + 1] += behind[prefix]
        return pieces


class MergedFamily:
    """One family as merged: what its header needs, the names of its samples, its values."""

    def __init__(self, name: str, kind: str, help_text: str) -> None:
        self.name = name
        self.type = kind
        self.help = help_text
        self.sample_names: set[str] = set()
        self.blocks: list[Block] = []
        self.totals: Any = ()

    def samples(self) -> Iterable[tuple[bytes, float]]:
        """Every sample's text before its value, and its value."""
        return chain.from_iterable(block.samples(self.totals) for block in self.blocks)

    def write(
        self, form: Format, texts: Texts, behind: Mapping[bytes, bytes] = _NOTHING
    ) -> list[bytes]:
        """Pieces of the family's text; ``behind`` as for blocks."""
        pieces = [header(self.name, self.type, self.help, self.sample_names, form)]
        for block in self.blocks:
            pieces += block.write(self.totals, texts, behind)
        pieces.append(b"\n")
        return pieces
