"""Properties of the elements that several rooms use."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from pymatgen.core import Element, Structure


@lru_cache(maxsize=256)
def electronegativity(symbol: str) -> float:
    """Electronegativity of an element on Pauling's scale; 0 for an element that has no value.

    Krypton (3.0), xenon (2.6) and radon (2.2) have one, from their fluorides: xenon is the cation of a polar bond in
    XeF2, and with 0 it would be more electropositive than caesium.

    >>> [electronegativity(symbol) for symbol in ("F", "Kr", "Ar")]
    [3.98, 3.0, 0.0]
    """
    with warnings.catch_warnings():  # pymatgen warns of every element without a value, which is no news here
        warnings.simplefilter("ignore")
        return float(np.nan_to_num(Element(symbol).X))


def elements_of(structures: Iterable[Structure]) -> tuple[str, ...]:
    """Symbols of all elements that occur, sorted."""
    return tuple(sorted({e.symbol for s in structures for e in s.elements}))


def formulas_of(structures: Iterable[Structure]) -> list[str]:
    """Reduced formula of each structure, such as ``"Fe2O3"``."""
    with warnings.catch_warnings(action="ignore"):  # of noble gases having no electronegativity
        return [structure.composition.reduced_formula for structure in structures]
