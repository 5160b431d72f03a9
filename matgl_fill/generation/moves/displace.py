"""Moves of the atoms in a fixed cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Structure

from matgl_fill.structures import neighbour_pairs, rattled, rebuilt


@dataclass(frozen=True)
class Rattle:
    """Gaussian displacement of every atom.

    Attributes:
        low: Smallest standard deviation that is drawn, Angstrom.
        high: Largest standard deviation that is drawn, Angstrom.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.7), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> new, record = Rattle(0.05, 0.05)(salt, np.random.default_rng(0))
        >>> record
        'rattle 0.05 A'
    """

    low: float = 0.02
    high: float = 0.15
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Displace all atoms, see :func:`matgl_fill.structures.geometry.rattled`."""
        new, sigma = rattled(structure, self.low, self.high, rng)
        return new, f"rattle {sigma:.2g} A"


@dataclass(frozen=True)
class MonteCarloRattle:
    """Many small Gaussian steps of single atoms, each taken only if no pair comes too close.

    It gives large displacements without the short contacts of a plain rattle. The idea is hiPhive's Monte-Carlo rattle
    (Eriksson, Fransson, Erhart, doi 10.1002/adts.201800184); here the closest approach is a hard bound, relative to
    the sum of the covalent radii.

    Attributes:
        sigma: Standard deviation of one step, Angstrom.
        sweeps: Number of steps tried per atom.
        closest: Smallest distance over the sum of covalent radii that a step may lead to.
        reach: Largest distance of an atom from where it began, Angstrom.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.7), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> MonteCarloRattle()(salt, np.random.default_rng(0))[1]
        'Monte-Carlo rattle 0.37 A, 98 % of steps taken'
    """

    sigma: float = 0.06
    sweeps: int = 10
    closest: float = 0.85
    reach: float = 0.5
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Displace one atom after the other."""
        r = covalent_radii[list(structure.atomic_numbers)]
        i, j, image, _ = neighbour_pairs(structure, float(2 * r.max() * self.closest + 2 * self.reach))
        apart = i != j
        i, j, shift = i[apart], j[apart], image[apart] @ structure.lattice.matrix
        near = [np.flatnonzero(i == a) for a in range(len(structure))]
        floor = [self.closest * (r[a] + r[j[rows]]) for a, rows in enumerate(near)]
        start = structure.cart_coords
        x = start.copy()
        taken = 0
        for step in rng.normal(0, self.sigma, (self.sweeps, *x.shape)):
            for a, rows in enumerate(near):
                new = x[a] + step[a]
                gaps = np.linalg.norm(x[j[rows]] + shift[rows] - new, axis=1)
                if np.linalg.norm(new - start[a]) <= self.reach and (gaps >= floor[a]).all():
                    x[a] = new
                    taken += 1
        rms = float(np.sqrt(((x - start) ** 2).sum(axis=1).mean()))
        share = taken / (self.sweeps * len(structure))
        return (
            rebuilt(structure, structure.lattice.matrix, x),
            f"Monte-Carlo rattle {rms:.2g} A, {share:.0%} of steps taken".replace("%", " %"),
        )
