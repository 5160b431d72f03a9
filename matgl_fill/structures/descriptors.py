"""Plain, model-independent descriptors of crystals: what a structure says without any network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Element, Structure

from matgl_fill.structures.elements import electronegativity
from matgl_fill.structures.neighbours import neighbour_pairs
from matgl_fill.structures.read import read_aligned

RADIUS = 6.0
"""Neighbours up to this distance (Angstrom) enter the radial part."""
NEAR = 1.25
"""Neighbours up to this multiple of an atom's nearest distance count as coordinated."""
RADIAL_CENTRES = np.linspace(0.5, 2.5, 12)
"""Centres of the radial distribution, in units of the cube root of the volume per atom."""
ANGLE_CENTRES = np.linspace(-1.0, 1.0, 6)
"""Centres of the bond-angle distribution, in cosine."""
PROPERTIES = ("Z", "mass", "X", "radius", "group", "row", "mendeleev", "s", "p", "d", "f")
STATISTICS = ("mean", "deviation", "min", "max")
COMPOSITIONAL = len(PROPERTIES) * len(STATISTICS) + 2
"""Number of columns about composition, which come first; the others are about structure."""


def names() -> list[str]:
    """Name of every descriptor column, in order."""
    composition = [f"{p} {s}" for p in PROPERTIES for s in STATISTICS] + ["elements", "mixing entropy"]
    cell = ["volume per atom", "density", "packing fraction"]
    local = ["bond length", "bond length deviation", "coordination", "coordination deviation"]
    local += ["bond polarity", "bond polarity deviation"]
    radial = [f"g(r={c:.2f})" for c in RADIAL_CENTRES]
    angle = [f"p(cos={c:+.1f})" for c in ANGLE_CENTRES]
    return composition + cell + local + radial + angle


@lru_cache(maxsize=1)
def _element_table() -> np.ndarray:
    """(119, 12) rows by atomic number: the ``PROPERTIES`` and the covalent radius in Angstrom."""
    table = np.zeros((119, len(PROPERTIES) + 1))
    for z in range(1, 104):
        el = Element.from_Z(z)
        shells = dict.fromkeys("spdf", 0)
        for n, shell, count in el.full_electronic_structure:
            if n == el.row or (shell == "d" and n == el.row - 1) or (shell == "f" and n == el.row - 2):
                shells[shell] += count
        X = electronegativity(el.symbol)
        radius = covalent_radii[z]
        values = [z, float(el.atomic_mass), X, radius, el.group, el.row, el.mendeleev_no or z]
        table[z] = [*values, *shells.values(), radius]
    return table


def _composition(numbers: np.ndarray) -> np.ndarray:
    values = _element_table()[numbers, :-1]
    mean = values.mean(axis=0)
    deviation = np.abs(values - mean).mean(axis=0)
    stats = np.stack([mean, deviation, values.min(axis=0), values.max(axis=0)], axis=1).ravel()
    fraction = np.unique(numbers, return_counts=True)[1] / len(numbers)
    return np.concatenate([stats, [len(fraction), -(fraction * np.log(fraction)).sum()]])


def _angles(centre: np.ndarray, vectors: np.ndarray, n: int) -> np.ndarray:
    """Smoothed distribution of bond-angle cosines, averaged over atoms."""
    out = np.zeros(len(ANGLE_CENTRES))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    width = ANGLE_CENTRES[1] - ANGLE_CENTRES[0]
    for bonds in np.split(unit, np.searchsorted(centre, np.arange(1, n))):
        if len(bonds) > 1:
            cosine = (bonds @ bonds.T)[np.triu_indices(len(bonds), 1)]
            out += np.exp(-0.5 * ((cosine[:, None] - ANGLE_CENTRES) / width) ** 2).mean(axis=0)
    return out / n


def _geometry(structure: Structure, numbers: np.ndarray) -> np.ndarray:
    n, table = len(numbers), _element_table()
    coords, lattice = structure.cart_coords, structure.lattice.matrix
    i, j, image, d = neighbour_pairs(structure, RADIUS)
    order = np.argsort(i, kind="stable")
    i, j, image, d = i[order], j[order], image[order], d[order]
    radius, X = table[numbers, -1], table[numbers, PROPERTIES.index("X")]
    volume = structure.volume / n
    cell = [volume, table[numbers, 1].sum() / structure.volume, (4 / 3 * np.pi * radius**3).sum() / structure.volume]
    nearest = np.full(n, RADIUS)
    np.minimum.at(nearest, i, d)
    near = d <= NEAR * nearest[i]
    coordination = np.bincount(i[near], minlength=n)
    length = nearest / (2 * radius)
    polarity = np.abs(X[i[near]] - X[j[near]]) if near.any() else np.zeros(1)
    local = [length.mean(), length.std(), coordination.mean(), coordination.std(), polarity.mean(), polarity.std()]
    scaled = d / np.cbrt(volume)
    width = RADIAL_CENTRES[1] - RADIAL_CENTRES[0]
    radial = np.exp(-0.5 * ((scaled[:, None] - RADIAL_CENTRES) / width) ** 2).sum(axis=0) / (n * RADIAL_CENTRES**2)
    vectors = coords[j[near]] + image[near] @ lattice - coords[i[near]]
    return np.concatenate([cell, local, radial, _angles(i[near], vectors, n)])


def describe(structures: Any) -> np.ndarray:
    """Descriptors of crystals that do not depend on any model.

    Those of composition are mean, mean absolute deviation, minimum and maximum over atoms of elemental properties
    (atomic number, mass, Pauling electronegativity, covalent radius, group, row, Mendeleev number, valence s, p, d,
    f electrons), element count and mixing entropy (the statistics of Ward et al., npj Comput. Mater. 2, 16028).
    Those of structure are volume per atom (A^3), density (u/A^3), packing fraction; nearest distance over the covalent
    diameter, coordination, bond polarity, each with its spread; radial distribution in units of the cube root of
    the volume per atom; bond-angle distribution. All are invariant to rotation, translation, permutation and
    supercells.

    Args:
        structures: Anything :func:`matgl_fill.read_structures` takes.

    Returns:
        Array (n, k) of float64; :func:`names` names the columns.

    Raises:
        InputError: A structure cannot be read.
    """
    return describe_structures(read_aligned(structures).structures)


def describe_structures(structures: Sequence[Structure]) -> np.ndarray:
    """Compute :func:`describe` for structures that are already read."""
    rows = np.empty((len(structures), len(names())))
    for row, structure in zip(rows, structures, strict=True):
        numbers = np.array(structure.atomic_numbers)
        row[:] = np.concatenate([_composition(numbers), _geometry(structure, numbers)])
    return rows
