"""Label-free proxy properties, cheap to calculate, by which the guard judges and on which no objective trains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from ase.data import atomic_masses, covalent_radii
from pymatgen.core import Element, Structure

from matgl_fill.structures import electronegativity, neighbour_pairs

REACH = 5.0
"""Distance (Angstrom) up to which pairs of atoms interact."""
STEEPNESS = 6.0
"""Decay of the pair repulsion, in units of the covalent diameter."""
ELEMENTAL = (
    "melting_point",
    "molar_volume",
    "average_ionic_radius",
    "electron_affinity",
    "ionization_energy",
    "max_oxidation_state",
)
"""Properties of the elements (of pymatgen's ``Element``) that no descriptor holds."""
NAMES = ("pair stiffness", "pair frequency", "pair ionicity", *(name.replace("_", " ") for name in ELEMENTAL))


def proxies(structures: Sequence[Structure]) -> np.ndarray:
    """Nine proxy properties per crystal, (n, 9), columns :data:`NAMES`.

    Three are of pairs of atoms. The mechanical one is the logarithm of the stiffness density of an exponential pair
    repulsion between covalent spheres. The vibrational one is the logarithm of the mean pair frequency, stiffness over
    reduced mass. The electronic one is the sum of squared electronegativity differences, damped with distance, per
    atom. Six are of composition: means over atoms of :data:`ELEMENTAL`. A training that improves one kind may spoil
    the other; denoising does.
    """
    table = _elements()
    return np.array([[*_pairs(s), *table[list(s.atomic_numbers)].mean(axis=0)] for s in structures])


@lru_cache(maxsize=1)
def _elements() -> np.ndarray:
    """:data:`ELEMENTAL` by atomic number, (119, 6); the median of all elements where there is no value."""
    table = np.full((119, len(ELEMENTAL)), np.nan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No data available")
        for z in range(1, 104):
            values = (getattr(Element.from_Z(z), name) for name in ELEMENTAL)
            table[z] = [np.nan if value is None else float(value) for value in values]
    return np.where(np.isnan(table), np.nanmedian(table, axis=0), table)


def _pairs(structure: Structure) -> list[float]:
    z = np.array(structure.atomic_numbers)
    i, j, _, d = neighbour_pairs(structure, REACH)
    X = np.array([electronegativity(s.symbol) for s in structure.species])
    ratio = d / (covalent_radii[z[i]] + covalent_radii[z[j]])
    stiffness = np.exp(-STEEPNESS * (ratio - 1))
    mass = atomic_masses[z]
    reduced = mass[i] * mass[j] / (mass[i] + mass[j])
    ionicity = ((X[i] - X[j]) ** 2 * np.exp(-STEEPNESS * (ratio - 1) / 2)).sum() / len(z)
    density = (stiffness * d**2).sum() / structure.volume
    frequency = (stiffness / reduced).sum() / len(z)
    return [float(np.log(density + 1e-6)), float(np.log(frequency + 1e-8)), float(ionicity)]
