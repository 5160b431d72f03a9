"""Properties of the elements that several rooms use."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
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


def element_shares(structures: Sequence[Structure], elements: Sequence[str]) -> np.ndarray:
    """Share of each of some elements in the atoms of n crystals, (n, elements).

    Example:
        >>> element_shares([Structure(np.eye(3), ["Na", "Cl", "Cl"], np.zeros((3, 3)))], ["Cl", "Na"]).round(2).tolist()
        [[0.67, 0.33]]
    """
    column = {e: k for k, e in enumerate(elements)}
    counts = np.zeros((len(structures), len(elements)))
    for row, structure in zip(counts, structures, strict=True):
        for site in structure.species:
            row[column[site.symbol]] += 1
    return counts / counts.sum(axis=1)[:, None]
