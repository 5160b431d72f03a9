"""Pairs of atoms within a distance, under periodic boundary conditions."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

SAME_POINT = 1e-6
"""Atoms closer than this (Angstrom) are one and the same."""


def neighbour_pairs(structure: Structure, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find every ordered pair of atoms up to ``reach`` (Angstrom) apart, an atom and its own images included.

    Returns:
        First atom (p,), second atom (p,), lattice image (p, 3) of the second, and distance (p,) in Angstrom.
    """
    coords = np.ascontiguousarray(structure.cart_coords)
    lattice = np.ascontiguousarray(structure.lattice.matrix)
    pbc = np.ones(3, dtype=np.int64)
    i, j, image, d = find_points_in_spheres(coords, coords, r=reach, pbc=pbc, lattice=lattice, tol=1e-8)
    apart = d > SAME_POINT
    return i[apart], j[apart], image[apart], d[apart]
