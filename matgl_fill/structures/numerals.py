"""Numbers in text files of crystals."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNDERSCORED = re.compile(r"[+-]?\d*_[\d_]*\.?[\d_]*([eE][+-]?\d+)?|[+-]?\d+\.\d*_[\d_]*([eE][+-]?\d+)?")


def check_numerals(words: Iterable[str]) -> None:
    """Refuse numbers that Python reads and no crystallographic program does, such as ``1_0.5`` for 10.5.

    Raises:
        ValueError: There is one.
    """
    for word in words:
        if "_" in word and UNDERSCORED.fullmatch(word):
            raise ValueError(f"'{word}' is no number")


def number_in(text: object) -> float | None:
    """The number of a CIF's entry, without the uncertainty in brackets; None if it is none."""
    try:
        return float(re.sub(r"\(.*", "", str(text)))
    except ValueError:
        return None
