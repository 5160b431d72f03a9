"""Moves of the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pymatgen.core import Structure
from pymatgen.core.surface import SlabGenerator
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgl_fill.structures import rebuilt

SYMMETRY_TOLERANCE = 0.01
"""Distance in Angstrom within which atoms count as equivalent."""
PLANES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
"""Lattice planes along which a crystal is opened."""
LAYER = 1e-3
"""Atoms whose heights differ by less than this share of the period lie in one layer."""


def _random_strain(sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Symmetric strain (3, 3) with Gaussian components, cut at three standard deviations."""
    e = rng.normal(0, sigma, (3, 3))
    return np.clip((e + e.T) / 2, -3 * sigma, 3 * sigma)


@dataclass(frozen=True)
class Strain:
    """Random symmetric strain, with six Gaussian components.

    Attributes:
        sigma: Standard deviation of each component.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> Strain(0.03)(salt, np.random.default_rng(0))[1]
        'strain 0.056'
    """

    sigma: float = 0.03
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Strain the cell at fixed fractional coordinates."""
        e = _random_strain(self.sigma, rng)
        return rebuilt(structure, structure.lattice.matrix @ (np.eye(3) + e)), f"strain {np.linalg.norm(e):.2g}"


@dataclass(frozen=True)
class SymmetricStrain:
    """Random strain that every operation of the crystal's point group leaves as it is.

    The random strain is averaged over the point group, an orthogonal projection, so that each free component stays
    Gaussian: one in a cubic crystal, two in a hexagonal, three in an orthorhombic one.

    Attributes:
        sigma: Standard deviation of each component before the projection.

    Example:
        >>> from pymatgen.core import Lattice
        >>> rutile = Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"],
        ...                                    [[0, 0, 0], [0.305, 0.305, 0]])
        >>> new, record = SymmetricStrain(0.05)(rutile, np.random.default_rng(0))
        >>> record
        'strain 0.038 within P4_2/mnm'
        >>> new.get_space_group_info()[0]
        'P4_2/mnm'
    """

    sigma: float = 0.03
    keeps_symmetry: ClassVar[bool] = True

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Strain the cell at fixed fractional coordinates."""
        analyzer = SpacegroupAnalyzer(structure, SYMMETRY_TOLERANCE)
        turns = np.array([o.rotation_matrix for o in analyzer.get_point_group_operations(cartesian=True)])
        e = np.einsum("gij,jk,glk->il", turns, _random_strain(self.sigma, rng), turns) / len(turns)
        record = f"strain {np.linalg.norm(e):.2g} within {analyzer.get_space_group_symbol()}"
        return rebuilt(structure, structure.lattice.matrix @ (np.eye(3) + (e + e.T) / 2)), record


@dataclass(frozen=True)
class Volume:
    """Uniform expansion or compression of the crystal.

    Attributes:
        spread: Largest fraction by which the volume changes.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> Volume(0.1)(salt, np.random.default_rng(0))[1]
        'volume x 1.03'
    """

    spread: float = 0.1
    keeps_symmetry: ClassVar[bool] = True

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Scale the cell at fixed fractional coordinates."""
        factor = 1 + rng.uniform(-self.spread, self.spread)
        return rebuilt(structure, structure.lattice.matrix * factor ** (1 / 3)), f"volume x {factor:.3g}"


@dataclass(frozen=True)
class Gap:
    """Gap: the crystal is cut between two layers and pulled apart along the plane's normal.

    There is one cut per period along a low-index plane, so layers of at most one oriented cell (pymatgen's
    SlabGenerator) stand apart. This leads to stretched bonds, surfaces and cleavage, not to a vacuum slab.

    Attributes:
        low: Smallest added distance, Angstrom.
        high: Largest added distance, Angstrom.
        max_atoms: Largest number of atoms of an oriented cell; larger ones are given up.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> Gap()(salt, np.random.default_rng(0))[1]
        'gap of 0.9 A on (0, 1, 1)'
    """

    low: float = 0.5
    high: float = 2.0
    max_atoms: int = 64
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Open the gap, or return None where the oriented cell is too large."""
        plane = PLANES[int(rng.integers(len(PLANES)))]
        width = rng.uniform(self.low, self.high)
        # SlabGenerator writes site properties into what it is given.
        oriented = SlabGenerator(structure.copy(), plane, 1, 0).oriented_unit_cell
        if len(oriented) > self.max_atoms:
            return None
        heights = np.sort(oriented.frac_coords[:, 2] % 1)
        spaces = np.diff(heights, append=heights[0] + 1)
        below = rng.choice(np.flatnonzero(spaces > LAYER))
        cut = heights[below] + spaces[below] / 2
        frac = oriented.frac_coords - np.array([0, 0, cut])
        frac[:, 2] %= 1
        lattice = oriented.lattice.matrix.copy()
        normal = np.cross(lattice[0], lattice[1])
        up = np.sign(normal @ lattice[2]) * normal / np.linalg.norm(normal)
        cartesian = frac @ lattice
        lattice[2] += width * up
        return rebuilt(oriented, lattice, cartesian), f"gap of {width:.2g} A on {plane}"
