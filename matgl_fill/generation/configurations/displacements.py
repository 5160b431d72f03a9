"""Displaced atoms in a strained cell."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from matgl_fill.generation.configurations.amplitudes import LEAST_ATOMS, disturbed
from matgl_fill.generation.configurations.base import Configuration, grown, one_by_one


@one_by_one
def displaced(crystal: Structure, rng: np.random.Generator, max_atoms: int) -> Configuration | None:
    """Displace the atoms and strain the cell by the rule of :mod:`~matgl_fill.generation.configurations.amplitudes`."""
    cell, record = grown(crystal, LEAST_ATOMS, max_atoms)
    return disturbed(cell, record, rng) if len(cell) > 1 else None
