"""How far atoms are displaced and cells strained: as far as simulations of a solid go, and no further.

**The rule.** The root mean square displacement of an atom, over the distance of its own nearest neighbour, is drawn
uniformly between 0 and 0.12. By Lindemann's criterion a crystal melts where that ratio comes to 0.1 to 0.15
(J. J. Gilvarry, Phys. Rev. 102, 308 (1956), doi 10.1103/PhysRev.102.308), so that every amplitude from rest to melting
is as frequent as any other, 0 to 0.3 Angstrom in a metal. An atom in a short bond moves less than one in a long bond,
as it does in a molecular crystal or a carbonate. The largest principal strain is drawn uniformly between 0 and 0.04, of
either sign: between absolute zero and melting a crystal's volume grows by some 6 to 7 percent (Grüneisen's rule, in the
same paper), 2 percent a length, and equations of state are computed up to 10 percent of the volume, 3.5 percent a
length.
"""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from matgl_fill.generation.configurations.base import Configuration
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.structures import neighbour_pairs, rebuilt

LINDEMANN = 0.12
"""Largest root mean square displacement, over the distance of the nearest neighbour."""
STRAIN = 0.04
"""Largest principal strain."""
LEAST_ATOMS = 4
"""Smaller cells are repeated before their atoms are displaced: where all atoms of a sort move alike, little happens."""
OWN_DISTANCE = 0.8
"""Where the atoms of the crystal at rest are nearer than the filters allow, they may come to this share of that."""
TRIES = 10
"""Number of directions that are tried for one amplitude before the crystal is given up."""


def nearest_distances(structure: Structure) -> np.ndarray:
    """Distance (n,) of each atom to its nearest neighbour, Angstrom; an image of its own counts too."""
    reach, nearest = 4.0, np.full(len(structure), np.inf)
    while not np.isfinite(nearest).all():
        i, _, _, d = neighbour_pairs(structure, reach)
        np.minimum.at(nearest, i, d)
        reach *= 1.5
    return nearest


def displacements(nearest: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Random displacements (n, 3) in Angstrom, Gaussian but for their size, which is given.

    Args:
        nearest: Distance (n,) of each atom to its nearest neighbour; its displacement is proportional to it.
        ratio: Root mean square, over the atoms, of displacement over that distance.
        rng: Generator of the directions.
    """
    u = rng.standard_normal((len(nearest), 3)) * nearest[:, None]
    u -= u.mean(axis=0)  # a crystal that is moved as a whole is the same
    size = np.sqrt(((u / nearest[:, None]) ** 2).sum(axis=1).mean())
    return u * (ratio / size)


def strain_of(largest: float, rng: np.random.Generator) -> np.ndarray:
    """Symmetric strain (3, 3) in a random direction of the six, scaled to a largest principal strain."""
    e = rng.standard_normal((3, 3))
    e = (e + e.T) / 2
    return e * (largest / np.abs(np.linalg.eigvalsh(e)).max())


def least_ratio(structure: Structure) -> float:
    """Smallest distance over the sum of covalent radii to which the atoms of a crystal at rest may come."""
    return min(MIN_DISTANCE, OWN_DISTANCE * closest_ratio(structure))


def disturbed(
    structure: Structure, record: str, rng: np.random.Generator, displaced: bool = True, strained: bool = True
) -> Configuration | None:
    """Strain a cell and displace its atoms by the rule of this module, so that no pair comes too close.

    An amplitude whose first direction brings atoms too close is kept, and another direction tried.

    Args:
        structure: Crystal of at least two atoms.
        record: Record of what was done to the crystal before.
        rng: Generator of amplitudes and directions.
        displaced: Whether atoms are displaced.
        strained: Whether the cell is strained.

    Returns:
        The configuration; None if the atoms come too close in every direction that is tried.
    """
    ratio, largest = rng.uniform(0, LINDEMANN) * displaced, rng.uniform(0, STRAIN) * strained
    floor, nearest = least_ratio(structure), nearest_distances(structure)
    words = [record] if record else []
    for _ in range(TRIES):
        u = displacements(nearest, ratio, rng) if displaced else np.zeros((len(structure), 3))
        stretch = np.eye(3) + (strain_of(largest, rng) if strained else 0)
        new = rebuilt(structure, structure.lattice.matrix @ stretch, structure.cart_coords @ stretch + u)
        if closest_ratio(new) >= floor:
            size = float(np.sqrt((u**2).sum(axis=1).mean()))
            words += [f"displaced {size:.2g} A"] if displaced else []
            words += [f"strain {largest:.2g}"] if strained else []
            return Configuration(new, "; ".join(words), size, float(largest))
    return None
