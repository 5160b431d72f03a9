"""Displaced atoms in small supercells, in which neighbouring cells move unlike each other."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from matgl_fill.generation.configurations.amplitudes import disturbed
from matgl_fill.generation.configurations.base import Configuration, grown, one_by_one


@one_by_one
def supercell(crystal: Structure, rng: np.random.Generator, max_atoms: int) -> Configuration | None:
    """Repeat the cell along its shortest vector up to a random number of atoms, and displace and strain it."""
    least = 2 * len(crystal)
    if least > max_atoms:
        return None
    size = int(rng.integers(least, max_atoms + 1))
    cell, record = grown(crystal, size, size)
    return disturbed(cell, record, rng)
