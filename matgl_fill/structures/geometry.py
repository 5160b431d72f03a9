"""Crystals with another cell or other positions of the same atoms."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure


def rebuilt(structure: Structure, lattice: np.ndarray, cartesian: np.ndarray | None = None) -> Structure:
    """Copy of a crystal in a new lattice, at its old fractional or at given Cartesian coordinates.

    Args:
        structure: Crystal of n atoms.
        lattice: Cell vectors (3, 3) in Angstrom, as rows.
        cartesian: Cartesian coordinates (n, 3) in Angstrom; the fractional ones are kept if none are given.
    """
    coords = structure.frac_coords if cartesian is None else cartesian
    return Structure(Lattice(lattice), structure.species, coords, coords_are_cartesian=cartesian is not None)


def rattled(structure: Structure, low: float, high: float, rng: np.random.Generator) -> tuple[Structure, float]:
    """Displace every atom of a crystal at random.

    The centre of mass is not corrected, since crystals are translation invariant.

    Args:
        structure: The crystal, which stays as it is.
        low: Smallest standard deviation of the Gaussian displacement of each Cartesian coordinate, Angstrom.
        high: Largest standard deviation; the one that is used is drawn uniformly between both.
        rng: Generator of the random numbers.

    Returns:
        The displaced copy and the standard deviation that was drawn, Angstrom.
    """
    sigma = rng.uniform(low, high)
    coords = structure.cart_coords + rng.normal(0, sigma, structure.cart_coords.shape)
    return rebuilt(structure, structure.lattice.matrix, coords), sigma
