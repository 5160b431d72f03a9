"""Moves that add or remove atoms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pymatgen.core import Structure
from scipy.spatial import Voronoi

from matgl_fill.generation.moves.base import radius
from matgl_fill.generation.moves.species import draw_replacement
from matgl_fill.generation.moves.volumes import scaled_volume

SAME_VOID = 0.1
"""Distance (Angstrom), about, below which two voids are one."""


def _repeated(structure: Structure, least: int) -> tuple[Structure, str]:
    """The cell doubled along its shortest axis until it holds ``least`` atoms, and the repeats in words."""
    times = np.ones(3, dtype=int)
    while len(structure) * times.prod() < least:
        times[int(np.argmin(np.array(structure.lattice.abc) * times))] *= 2
    words = " x ".join(map(str, times))
    return structure.make_supercell(times.tolist(), in_place=False), "" if times.prod() == 1 else f" in {words} cells"


@dataclass(frozen=True)
class Vacancy:
    """Vacancy: one atom is removed, never the last of its element.

    Attributes:
        least_atoms: Smallest number of atoms of the cell; smaller cells are repeated first, so that the vacancy is a
            defect rather than a new compound.

    Example:
        >>> from pymatgen.core import Lattice
        >>> rutile = Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"],
        ...                                    [[0, 0, 0], [0.305, 0.305, 0]])
        >>> new, record = Vacancy(least_atoms=12)(rutile, np.random.default_rng(1))
        >>> new.formula, record
        ('Ti4 O7', 'O vacancy in 1 x 1 x 2 cells')
    """

    least_atoms: int = 0
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Remove an atom, or return None where each element has one atom."""
        new, words = _repeated(structure, self.least_atoms)
        symbols = [e.symbol for e in new.species]
        candidates = [k for k, el in enumerate(symbols) if symbols.count(el) > 1]
        if not candidates:
            return None
        gone = candidates[int(rng.integers(len(candidates)))]
        new.remove_sites([gone])
        return new, f"{symbols[gone]} vacancy{words}"


def voids(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Find the corners of the Voronoi cells: the points that are farthest from the atoms around them.

    Args:
        structure: Crystal of n atoms.

    Returns:
        Cartesian points (m, 3) of one cell and distances (m, n) to the nearest image of each atom, Angstrom.
    """
    reduced = structure.lattice.get_lll_reduced_lattice()
    inside = reduced.get_fractional_coords(structure.cart_coords) % 1
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    corners = reduced.get_fractional_coords(
        Voronoi(reduced.get_cartesian_coords((inside[None] + shifts[:, None]).reshape(-1, 3))).vertices
    )
    corners = corners[((corners > -1e-6) & (corners < 1 - 1e-6)).all(axis=1)]
    _, first = np.unique(np.round(reduced.get_cartesian_coords(corners) / SAME_VOID), axis=0, return_index=True)
    points = corners[np.sort(first)]
    return reduced.get_cartesian_coords(points), reduced.get_all_distances(points, inside)


@dataclass(frozen=True)
class Interstitial:
    """Interstitial: one atom is put into a void.

    Attributes:
        elements: Elements that may be put in; if empty, the crystal's own.
        closest: Smallest distance of a void to every atom, relative to the sum of covalent radii.

    Example:
        >>> from pymatgen.core import Lattice
        >>> fluorite = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.46), ["Ca", "F"],
        ...                                      [[0, 0, 0], [0.25, 0.25, 0.25]]).get_primitive_structure()
        >>> new, record = Interstitial(("F",))(fluorite, np.random.default_rng(0))
        >>> new.formula, record
        ('Ca1 F3', 'F interstitial at 0.88 of the covalent sum')
    """

    elements: tuple[str, ...] = ()
    closest: float = 0.8
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Insert into one of the voids at random, or return None where none is large enough for the drawn element."""
        choices = self.elements or tuple(sorted({e.symbol for e in structure.elements}))
        symbol = choices[int(rng.integers(len(choices)))]
        points, distance = voids(structure)
        ratio = (distance / (radius(symbol) + np.array([radius(e.symbol) for e in structure.species]))).min(axis=1)
        large = np.flatnonzero(ratio >= self.closest)
        if len(large) == 0:
            return None
        k = int(rng.choice(large))
        new = structure.copy()
        new.append(symbol, points[k], coords_are_cartesian=True)
        return new, f"{symbol} interstitial at {ratio[k]:.2f} of the covalent sum"


@dataclass(frozen=True)
class Supercell:
    """Supercell: two cells next to each other, with one atom replaced by a similar element.

    The replaced atom makes the larger cell a crystal of its own rather than the same one described twice.

    Attributes:
        elements: Elements that may be put in.
        max_atoms: Largest number of atoms of a supercell; larger ones are given up.
        mined: Take likelihoods from the ICSD; see :func:`~matgl_fill.generation.moves.replacements`.
        volumes: Volumes from :func:`~matgl_fill.generation.moves.atomic_volumes`; None rescales by covalent radii.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> new, record = Supercell(("Rb", "Br"))(salt, np.random.default_rng(1))
        >>> new.formula, record
        ('Cs2 Br1 Cl1', '1 x 2 x 1 cells with one Cl->Br')
    """

    elements: tuple[str, ...]
    max_atoms: int = 48
    mined: bool = False
    volumes: Mapping[str, float] | None = None
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Double along a random axis, or return None where the result is too large or no element has a replacement."""
        if 2 * len(structure) > self.max_atoms:
            return None
        times = np.ones(3, dtype=int)
        times[int(rng.integers(3))] = 2
        site = int(rng.integers(len(structure)))
        old = structure.species[site].symbol
        chosen = draw_replacement(old, structure, self.elements, self.mined, rng)
        if chosen is None:
            return None
        large = structure.make_supercell(times.tolist(), in_place=False)
        new = large.copy()
        new.replace(2 * site, chosen)
        new.scale_lattice(scaled_volume(large, (e.symbol for e in new.species), self.volumes))
        return new, f"{' x '.join(map(str, times))} cells with one {old}->{chosen}"
