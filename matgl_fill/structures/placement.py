"""Atoms in a fully periodic cell: vacuum along open axes, atoms far from the cell, and what no model can take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.geometry import complete_cell
from scipy.spatial import cKDTree

VACUUM = 15.0
"""Vacuum (Angstrom) on each side of a molecule, or of a slab whose cell leaves less; more than any MatGL cutoff."""
OVERLAP = 0.5
"""Distance (Angstrom) under which two atoms overlap: no bond is so short (H2: 0.74), under pressure neither."""
SAME_PLACE = 0.01
"""Distance (Angstrom) under which two atoms are at one place, where no potential has an energy."""
MIN_VOLUME = 0.1
"""Volume (cubic Angstrom) under which a cell has none."""
FARTHEST = 1e8
"""Largest coordinate (Angstrom, or fractional) whose place in the cell is still known to a millionth of it."""
REACH = 6.0
"""Largest cutoff (Angstrom) of MatGL's models, by which the cost of a neighbour search is estimated."""
MAX_IMAGES = 3 * 10**7
"""Largest number of periodic images of atoms that a neighbour search has to look at."""
MAX_EDGES = 2 * 10**7
"""Largest number of ordered pairs of atoms within ``REACH``; some 250,000 atoms of a crystal have as many."""
MAX_CUBES = 10**6
"""Largest number of cubes of edge ``REACH`` that a neighbour search sorts the atoms into, 216 bytes each."""


@dataclass(frozen=True)
class Placement:
    """Atoms in a fully periodic cell.

    Attributes:
        cell: Cell vectors (3, 3) in Angstrom, as rows.
        frac: Fractional coordinates (n, 3).
        shift: Whole lattice vectors (n, 3) by which the atoms were moved towards the cell.
    """

    cell: np.ndarray
    frac: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, cell: np.ndarray, coords: np.ndarray, cartesian: bool) -> Placement:
        """Place n atoms, given by Cartesian (Angstrom) or fractional coordinates (n, 3).

        Atoms in the cell, or less than one cell beside it, stay where they are; those further away, whose images a
        neighbour search would have to reach, are moved by whole lattice vectors.

        Raises:
            ValueError: A number is not finite, the cell has no volume, an atom is too far away to be placed, or the
                search for neighbours would need too much time or memory; the message names the atom.
        """
        if not np.isfinite(cell).all():
            raise ValueError("NaN or infinite lattice")
        if len(bad := np.flatnonzero(~np.isfinite(coords).all(axis=1))):
            raise ValueError(f"NaN or infinite coordinates of atom {bad[0]}")
        if (volume := cell_volume(cell)) < MIN_VOLUME:
            raise ValueError(f"zero-volume cell ({volume:.2g} A^3)")
        if len(far := np.flatnonzero(np.abs(coords).max(axis=1) > FARTHEST)):
            largest = np.abs(coords[far[0]]).max()
            raise ValueError(f"a coordinate of atom {far[0]} is {largest:.3g}, too far outside of the cell")
        frac = coords @ np.linalg.inv(cell) if cartesian else coords
        shift = np.where((frac < -1) | (frac >= 2), np.floor(frac), 0.0)
        found = cls(cell, frac - shift if shift.any() else frac, shift)
        found._check_search()
        return found

    @property
    def heights(self) -> np.ndarray:
        """Distances (3,) between opposite faces of the cell, Angstrom."""
        return 1 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)

    def _check_search(self) -> None:
        """Refuse atoms whose neighbours cannot be searched, by estimates that cost nothing."""
        n, spread = len(self.frac), np.ptp(self.frac @ self.cell, axis=0)
        height = self.heights.min()
        if n * np.prod(2 * REACH / self.heights + 3) > MAX_IMAGES:
            raise ValueError(f"the cell is too thin for its neighbours to be searched ({height:.2g} A between faces)")
        if np.prod(spread / REACH + 3) > MAX_CUBES:
            size = " x ".join(f"{one:.3g}" for one in spread)
            raise ValueError(f"the atoms are spread too widely for their neighbours to be searched ({size} A)")
        room = min(cell_volume(self.cell), float(np.prod(spread + REACH)))
        if (edges := n**2 * 4 / 3 * np.pi * REACH**3 / room) > MAX_EDGES:
            raise ValueError(f"about {edges:.1g} pairs of atoms within {REACH:g} A, more than {MAX_EDGES:.0e}")

    def check_overlaps(self, bound: float = OVERLAP) -> None:
        """Refuse two atoms, or an atom and its own image, that are closer than a bound (Angstrom).

        Raises:
            ValueError: There is such a pair; the message names the closest.
        """
        pair = (self._thin_overlap if (self.heights <= 2 * bound).any() else self._overlap)(bound)
        if pair is not None:
            i, j, distance = pair
            who = f"atoms {i} and {j}" if i != j else f"atom {i} and its own image"
            raise ValueError(f"{who} overlap ({distance:.2g} A apart)")

    def _overlap(self, bound: float) -> tuple[int, int, float] | None:
        """Closest overlapping pair and its distance, found in a periodic tree whose axes are scaled to the bound."""
        reach = bound / self.heights  # in fractional units, per axis
        points = (self.frac - np.floor(self.frac)) / reach
        points[points >= 1 / reach] = 0.0
        pairs = cKDTree(points, boxsize=1 / reach).query_pairs(1.0, np.inf, output_type="ndarray")
        if not len(pairs):
            return None
        delta = self.frac[pairs[:, 0]] - self.frac[pairs[:, 1]]
        distances = np.linalg.norm((delta - np.round(delta)) @ self.cell, axis=1)
        k = int(distances.argmin())
        return (int(pairs[k, 0]), int(pairs[k, 1]), float(distances[k])) if distances[k] < bound else None

    def _thin_overlap(self, bound: float) -> tuple[int, int, float] | None:
        """The same in a cell with faces so close that several images of an atom may be near; all are looked at."""
        inside = (self.frac - np.floor(self.frac)) @ self.cell
        ranges = [np.arange(-k, k + 1) for k in np.ceil(bound / self.heights).astype(int)]
        images = np.array(list(itertools.product(*ranges)))
        points = (inside[None] + (images @ self.cell)[:, None]).reshape(-1, 3)
        distances, index = cKDTree(points).query(inside, k=2, distance_upper_bound=bound)  # the first is the atom
        k = int(distances[:, 1].argmin())
        if not distances[k, 1] < bound:
            return None
        i, j = sorted((k, int(index[k, 1]) % len(inside)))
        return i, j, float(distances[k, 1])


def cell_volume(cell: Any) -> float:
    """Volume of a cell (3, 3), cubic Angstrom."""
    return abs(float(np.linalg.det(np.asarray(cell))))


def with_vacuum(matrix: Any, pbc: Sequence[bool], coords: Any) -> tuple[np.ndarray, np.ndarray]:
    """Close the open axes of a cell: vacuum in each, where the cell has no vector there or one that leaves less.

    Nothing is turned, and the atoms keep their order.

    Args:
        matrix: Cell vectors (3, 3) in Angstrom, as rows; an open axis may have none.
        pbc: Whether each axis is periodic; of a molecule none is.
        coords: Cartesian coordinates (n, 3), Angstrom.

    Returns:
        Fully periodic cell (3, 3) and Cartesian coordinates (n, 3); as they were if all axes are periodic.
    """
    cell, positions = np.array(matrix, dtype=float), np.array(coords, dtype=float)
    if not len(positions) or not np.isfinite(positions).all() or not np.isfinite(cell).all():
        return cell, positions  # refused later, with the reason
    if not any(pbc):
        return in_box(positions)
    for axis in np.flatnonzero(~np.asarray(pbc)):
        full = complete_cell(cell)
        normal = np.cross(full[axis - 2], full[axis - 1])
        normal /= max(float(np.linalg.norm(normal)), 1e-12)
        along = positions @ normal
        if abs(cell[axis] @ normal) - np.ptp(along) < VACUUM:
            cell[axis] = normal * (np.ptp(along) + 2 * VACUUM)
            positions += normal * (VACUUM - along.min())
    return cell, positions


def in_box(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubic box (3, 3) with vacuum on each side of a molecule, and the coordinates (n, 3) of the molecule in it."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    size = float((high - low).max()) + 2 * VACUUM
    return np.eye(3) * size, positions + (size - low - high) / 2
