"""Vacancies: one atom is missing in a cell as large as allowed, and the others are displaced."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from matgl_fill.generation.configurations.amplitudes import disturbed
from matgl_fill.generation.configurations.base import Configuration, grown, one_by_one
from matgl_fill.generation.moves import Vacancy

LEAST_ATOMS = 4
"""In a smaller cell a vacancy would be another compound rather than a defect."""


@one_by_one
def vacancy(crystal: Structure, rng: np.random.Generator, max_atoms: int) -> Configuration | None:
    """Take an atom out, never the last of its element, and displace and strain the rest."""
    cell, repeats = grown(crystal, max_atoms, max_atoms)
    made = Vacancy()(cell, rng) if len(cell) >= LEAST_ATOMS else None
    if made is None:
        return None
    return disturbed(made[0], f"{made[1]} in {repeats}" if repeats else made[1], rng)
