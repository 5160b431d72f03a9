"""Label-free proxy properties: cheap physics that no objective trains on, by which the guard judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses, covalent_radii
from pymatgen.core import Element, Structure
from pymatgen.optimization.neighbors import find_points_in_spheres

REACH = 5.0
"""Pairs up to this distance (Angstrom) interact."""
STEEPNESS = 6.0
"""Decay of the pair repulsion, in units of the covalent diameter."""
NAMES = ("pair stiffness", "pair frequency", "pair ionicity")


def _electronegativity(z: int) -> float:
    element = Element.from_Z(z)
    return 0.0 if element.is_noble_gas or np.isnan(element.X) else float(element.X)


def proxies(structures: Sequence[Structure]) -> np.ndarray:
    """Three proxy properties per crystal, (n, 3), columns :data:`NAMES`.

    Mechanical: logarithm of the stiffness density of an exponential pair repulsion between covalent spheres.
    Vibrational: logarithm of the mean pair frequency, stiffness over reduced mass. Electronic: squared
    electronegativity differences damped with distance.
    """
    return np.array([_row(s) for s in structures])


def _row(structure: Structure) -> list[float]:
    z = np.array(structure.atomic_numbers)
    coords = np.ascontiguousarray(structure.cart_coords)
    lattice = np.ascontiguousarray(structure.lattice.matrix)
    pbc = np.ones(3, dtype=np.int64)
    i, j, _, d = find_points_in_spheres(coords, coords, r=REACH, pbc=pbc, lattice=lattice, tol=1e-8)
    i, j, d = (x[d > 1e-6] for x in (i, j, d))
    X = np.array([_electronegativity(int(a)) for a in z])
    ratio = d / (covalent_radii[z[i]] + covalent_radii[z[j]])
    stiffness = np.exp(-STEEPNESS * (ratio - 1))
    mass = atomic_masses[z]
    reduced = mass[i] * mass[j] / (mass[i] + mass[j])
    ionicity = ((X[i] - X[j]) ** 2 * np.exp(-STEEPNESS * (ratio - 1) / 2)).sum() / len(z)
    density = (stiffness * d**2).sum() / structure.volume
    frequency = (stiffness / reduced).sum() / len(z)
    return [float(np.log(density + 1e-6)), float(np.log(frequency + 1e-8)), float(ionicity)]
