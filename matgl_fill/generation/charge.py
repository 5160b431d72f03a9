"""Charge balance: whether oxidation states can sum to zero."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Composition, Element, Structure

from matgl_fill.structures import electronegativity, neighbour_pairs

ANIONS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I"})
"""Oxidation states mean something where the most electronegative element is one of these."""
NEGATIVE = ANIONS | {"B", "Si", "Ge", "Sn", "Pb", "Sb", "Bi"}
"""Elements that take negative states, next to less electronegative ones."""
BOND = 1.2
"""Longest bond of two atoms of an anion, relative to twice the covalent radius."""


@lru_cache(maxsize=256)
def oxidation_states(symbol: str) -> frozenset[int]:
    """All known oxidation states but zero, tabulated or found in the ICSD."""
    element = Element(symbol)
    return frozenset(element.oxidation_states) | frozenset(element.icsd_oxidation_states) - {0}


@lru_cache(maxsize=65536)
def charge_balanced(formula: str, catenated: frozenset[str] = frozenset()) -> bool | None:
    """Whether some choice of oxidation states sums to zero.

    For some k, the k most electronegative elements take negative states and the others positive ones; atoms of one
    element may differ (mixed valence). So oxyhalides, nitrides with a second anion and stannides, bismuthides and the
    like next to oxygen balance too.

    Args:
        formula: Formula of the crystal.
        catenated: Anions with bonds among themselves (:func:`catenated_anions`); each bond saves electrons, so they
            take any charge from their lowest state to zero, as in peroxides, azides, polysulfides and Zintl phases.

    Returns:
        Whether they can; None where oxidation states mean little: elements, and compounds whose most electronegative
        element is a metal or a noble gas.

    Example:
        >>> charge_balanced("LaOF"), charge_balanced("Na2Cl"), charge_balanced("AlNi")
        (True, False, None)
        >>> charge_balanced("KN3"), charge_balanced("KN3", frozenset({"N"}))
        (False, True)
    """
    composition = Composition(formula).reduced_composition
    if len(composition) < 2 or any(e.is_noble_gas for e in composition.elements):
        return None
    ranked = sorted(composition.elements, key=lambda e: -electronegativity(e.symbol))
    if ranked[0].symbol not in ANIONS:
        return None
    for k in range(1, len(ranked)):
        if ranked[k - 1].symbol not in NEGATIVE:
            break
        if _sums_to_zero(composition, [e.symbol for e in ranked[:k]], catenated):
            return True
    return False


def _sums_to_zero(composition: Composition, negative: list[str], catenated: frozenset[str]) -> bool:
    sums = {0}
    for element, count in composition.items():
        symbol = element.symbol
        states = {q for q in oxidation_states(symbol) if (q < 0) == (symbol in negative)}
        if symbol in negative and symbol in catenated and states:
            states = set(range(min(states), 1))
        for _ in range(int(count)):
            sums = {s + q for s in sums for q in states}
    return 0 in sums


def catenated_anions(structure: Structure) -> frozenset[str]:
    """Anions that have a bond to an atom of their own kind."""
    z = np.array(structure.atomic_numbers)
    symbols = sorted({e.symbol for e in structure.elements} & ANIONS)
    if not symbols:
        return frozenset()
    reach = {el: 2 * BOND * float(covalent_radii[Element(el).Z]) for el in symbols}
    i, j, _, d = neighbour_pairs(structure, max(reach.values()))
    return frozenset(el for el in symbols if ((z[i] == Element(el).Z) & (z[i] == z[j]) & (d < reach[el])).any())


def balance(structure: Structure) -> bool | None:
    """Charge balance of a crystal, see :func:`charge_balanced`.

    Bonds among anions only widen the choice, so they are looked for last.
    """
    formula = structure.composition.reduced_formula
    balanced = charge_balanced(formula)
    return charge_balanced(formula, catenated_anions(structure)) if balanced is False else balanced
