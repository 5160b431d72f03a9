"""Surfaces: a thin slab along a low-index plane, with vacuum, its atoms displaced."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure
from pymatgen.core.surface import SlabGenerator

from matgl_fill.generation.configurations.amplitudes import disturbed
from matgl_fill.generation.configurations.base import Configuration, one_by_one
from matgl_fill.generation.moves.cell import LAYER, PLANES
from matgl_fill.structures import rebuilt

VACUUM = 12.0
"""Vacuum between the slab and its next image, Angstrom; every cutoff of MatGL's models is shorter."""
THICKNESS = (8.0, 6.0, 4.0)
"""Least thicknesses of a slab that are tried, Angstrom: the first whose slab is small enough is taken."""


@one_by_one
def surface(crystal: Structure, rng: np.random.Generator, max_atoms: int) -> Configuration | None:
    """Cut a slab as thick as the number of atoms allows, along planes in random order, and displace its atoms."""
    for k in rng.permutation(len(PLANES)).tolist():
        for thickness in THICKNESS:
            if (slab := _slab(crystal, PLANES[k], thickness, max_atoms)) is not None:
                plane = "".join(map(str, PLANES[k]))
                return disturbed(slab, f"({plane}) slab, {VACUUM:g} A vacuum", rng, strained=False)
    return None


def _slab(crystal: Structure, plane: tuple[int, int, int], thickness: float, max_atoms: int) -> Structure | None:
    """Slab of whole cells, cut where layers are farthest apart; None if it holds too many atoms, or only one."""
    # SlabGenerator writes site properties into what it is given.
    generator = SlabGenerator(crystal.copy(), plane, thickness, VACUUM, center_slab=True)
    oriented = generator.oriented_unit_cell
    if len(oriented) > max_atoms:
        return None
    heights = np.sort(oriented.frac_coords[:, 2] % 1)
    spaces = np.diff(heights, append=heights[0] + 1)
    spaces[spaces < LAYER] = 0
    below = int(spaces.argmax())
    slab = generator.get_slab(heights[below] + spaces[below] / 2)
    if not 1 < len(slab) <= max_atoms:
        return None
    lattice = slab.lattice.matrix.copy()
    normal = np.cross(lattice[0], lattice[1])
    normal /= np.linalg.norm(normal)
    along = slab.cart_coords @ normal
    lattice[2] = normal * (np.ptp(along) + VACUUM)
    return rebuilt(slab, lattice, slab.cart_coords + normal * (VACUUM / 2 - along.min()))
