"""Label-free proxy properties: cheap physics that no objective trains on, by which the guard judges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses, covalent_radii
from pymatgen.core import Structure

from matgl_fill.descriptors import electronegativity
from matgl_fill.neighbours import neighbour_pairs

REACH = 5.0
"""Pairs up to this distance (Angstrom) interact."""
STEEPNESS = 6.0
"""Decay of the pair repulsion, in units of the covalent diameter."""
NAMES = ("pair stiffness", "pair frequency", "pair ionicity")


def proxies(structures: Sequence[Structure]) -> np.ndarray:
    """Three proxy properties per crystal, (n, 3), columns :data:`NAMES`.

    Mechanical: logarithm of the stiffness density of an exponential pair repulsion between covalent spheres.
    Vibrational: logarithm of the mean pair frequency, stiffness over reduced mass. Electronic: squared
    electronegativity differences damped with distance.
    """
    return np.array([_row(s) for s in structures])


def _row(structure: Structure) -> list[float]:
    z = np.array(structure.atomic_numbers)
    i, j, _, d = neighbour_pairs(structure, REACH)
    X = np.array([electronegativity(s) for s in structure.species])
    ratio = d / (covalent_radii[z[i]] + covalent_radii[z[j]])
    stiffness = np.exp(-STEEPNESS * (ratio - 1))
    mass = atomic_masses[z]
    reduced = mass[i] * mass[j] / (mass[i] + mass[j])
    ionicity = ((X[i] - X[j]) ** 2 * np.exp(-STEEPNESS * (ratio - 1) / 2)).sum() / len(z)
    density = (stiffness * d**2).sum() / structure.volume
    frequency = (stiffness / reduced).sum() / len(z)
    return [float(np.log(density + 1e-6)), float(np.log(frequency + 1e-8)), float(ionicity)]
