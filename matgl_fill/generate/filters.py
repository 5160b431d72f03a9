"""Filters: what a crystal must satisfy to be worth an electronic-structure calculation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Composition, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from matgl_fill.adapters import Adapter
from matgl_fill.neighbours import neighbour_pairs

MIN_DISTANCE = 0.7
"""No two atoms closer than this fraction of the sum of their covalent radii."""
VOLUME_MARGIN = 0.15
"""Volume per atom, relative to the atoms' covalent volume, may leave the pool's range by this fraction."""
ANIONS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I"})


def covalent_volume(structure: Structure) -> float:
    """Sum of the covalent spheres in cubic Angstrom."""
    return float((4 / 3 * np.pi * covalent_radii[list(structure.atomic_numbers)] ** 3).sum())


def closest_ratio(structure: Structure) -> float:
    """Smallest distance between two atoms over the sum of their covalent radii."""
    r = covalent_radii[list(structure.atomic_numbers)]
    i, j, _, d = neighbour_pairs(structure, float(2 * r.max()))
    return float((d / (r[i] + r[j])).min(initial=np.inf))


@lru_cache(maxsize=65536)
def charge_balanced(formula: str) -> bool | None:
    """True or False where an anion makes oxidation states meaningful, None for metals and intermetallics.

    The most electronegative element takes its negative oxidation states, every other element its positive
    ones, atoms of one element possibly different ones (mixed valence); balanced means that some choice sums to zero.
    """
    composition = Composition(formula).reduced_composition
    if len(composition) < 2 or not ANIONS & {e.symbol for e in composition.elements}:
        return None
    anion = max(composition.elements, key=lambda e: float(e.X))
    sums = {0}
    for element, count in composition.items():
        states = [q for q in element.oxidation_states if (q < 0) == (element == anion)]
        for _ in range(int(count)):
            sums = {s + q for s in sums for q in states}
    return 0 in sums


@dataclass
class Filters:
    """Accepts or refuses candidates, with a reason for each refusal.

    Args:
        adapter: of the model; gives its elements and cutoff.
        pool: known crystals, for the bounds of the packing and for novelty.
    """

    adapter: Adapter
    pool: Sequence[Structure]
    packing: tuple[float, float] = field(init=False)
    known: dict[str, list[Structure]] = field(init=False)

    def __post_init__(self) -> None:
        fractions = np.array([covalent_volume(s) / s.volume for s in self.pool])
        low, high = np.quantile(fractions, [0.01, 0.99])
        self.packing = (float(low / (1 + VOLUME_MARGIN)), float(high * (1 + VOLUME_MARGIN)))
        self.known = {}
        for s in self.pool:
            self.known.setdefault(s.composition.reduced_formula, []).append(s)
        self._matcher = StructureMatcher()

    def refuse(self, structure: Structure) -> str | None:
        """Why the geometry or chemistry is not acceptable, or None. Cheap tests come first."""
        if problem := self.adapter.problem(structure):
            return problem
        fraction = covalent_volume(structure) / structure.volume
        if not self.packing[0] <= fraction <= self.packing[1]:
            return f"packing fraction {fraction:.2f} outside {self.packing[0]:.2f} to {self.packing[1]:.2f}"
        if (ratio := closest_ratio(structure)) < MIN_DISTANCE:
            return f"atoms at {ratio:.2f} of the covalent-radius sum"
        if charge_balanced(structure.composition.reduced_formula) is False:
            return f"{structure.composition.reduced_formula} cannot be charge balanced"
        return None

    def duplicate(self, structure: Structure) -> bool:
        """True if the crystal matches one of the pool or one accepted before."""
        same = self.known.get(structure.composition.reduced_formula, [])
        return any(self._matcher.fit(structure, other) for other in same)

    def accept(self, structure: Structure) -> None:
        """Count the crystal as known from now on."""
        self.known.setdefault(structure.composition.reduced_formula, []).append(structure)
