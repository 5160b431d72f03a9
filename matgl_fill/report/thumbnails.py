"""Small pictures of crystals as SVG, with spheres and cell edges in a parallel projection."""

from __future__ import annotations

from html import escape
from itertools import combinations, product

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from pymatgen.core import Structure
from scipy.spatial.transform import Rotation

SIZE = 100.0
"""Width and height of the view box."""
MARGIN = 3.0
SPHERE = 0.6
"""Radius of a sphere over the covalent radius."""
MAX_SPHERES = 150
"""Largest number of atoms that are drawn, those nearest to the viewer: a page of 100 crystals has to stay small."""
ON_FACE = 0.02
"""Fractional distance from a face of the cell within which an atom is drawn on the opposite face as well."""
VIEWS = [Rotation.from_euler("zx", [angle, -78], degrees=True).as_matrix() for angle in range(-22, 158, 30)]
"""Views from a little above and from all around the vertical; a cell is drawn in the one in which it looks roundest."""
CORNERS = np.array(list(product((0, 1), repeat=3)), dtype=float)
EDGES = [(i, j) for i, j in combinations(range(8), 2) if np.abs(CORNERS[i] - CORNERS[j]).sum() == 1]


def thumbnail(structure: Structure, name: str) -> str:
    """Draw a crystal's cell, seen horizontally and a little from above, in Jmol's colours.

    Args:
        structure: Ordered crystal.
        name: Name with which the picture's title starts.

    Returns:
        SVG text with a title; the cell's edges take the colour of the text around.
    """
    frac = np.mod(structure.frac_coords + ON_FACE, 1.0) - ON_FACE
    z = np.asarray(structure.atomic_numbers)
    places, owner = _with_faces(frac)
    cell = structure.lattice.matrix
    view = max(VIEWS, key=lambda v: round(_roundness(CORNERS @ cell @ v.T), 3))
    atoms, corners = places @ cell @ view.T, CORNERS @ cell @ view.T
    radius = SPHERE * covalent_radii[z][owner]
    low = np.minimum((atoms[:, :2] - radius[:, None]).min(axis=0), corners[:, :2].min(axis=0))
    high = np.maximum((atoms[:, :2] + radius[:, None]).max(axis=0), corners[:, :2].max(axis=0))
    scale = (SIZE - 2 * MARGIN) / float((high - low).max())
    shift = SIZE / 2 - scale * (low + high) / 2

    def flat(points: np.ndarray) -> np.ndarray:
        xy = points[:, :2] * scale + shift
        return np.column_stack([xy[:, 0], SIZE - xy[:, 1]])

    ends = flat(corners)
    path = "".join(f"M{_n(ends[i, 0])} {_n(ends[i, 1])}L{_n(ends[j, 0])} {_n(ends[j, 1])}" for i, j in EDGES)
    order = np.argsort(atoms[:, 2], kind="stable")[-MAX_SPHERES:]  # the nearest last, on top
    spheres = "".join(
        f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(scale * r)}" fill="{_colour(z[k])}"/>'
        for (x, y), r, k in zip(flat(atoms)[order], radius[order], owner[order], strict=True)
    )
    title = escape(_title(structure, name, len(atoms)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE:g} {SIZE:g}" role="img" aria-label="{title}">'
        f'<title>{title}</title><path d="{path}" fill="none" stroke="currentColor" stroke-width=".6"/>'
        f'<g stroke="#444" stroke-width=".6">{spheres}</g></svg>'
    )


def _with_faces(frac: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractional positions (m, 3), those on a face repeated on the opposite one, and the atom of each (m,)."""
    places = (frac[:, None] + CORNERS).reshape(-1, 3)
    inside = (places <= 1 + ON_FACE).all(axis=1)
    return places[inside], np.repeat(np.arange(len(frac)), len(CORNERS))[inside]


def _roundness(points: np.ndarray) -> float:
    """Ratio of the shorter to the longer edge of the box around points, as they are seen."""
    sides = np.ptp(points[:, :2], axis=0)
    return float(sides.min() / sides.max())


def _title(structure: Structure, name: str, spheres: int) -> str:
    a, b, c = structure.lattice.abc
    formula, n = structure.composition.reduced_formula, len(structure)
    text = f"{name}: {formula}, {n} atom{'s' * (n > 1)}, cell {a:.1f} × {b:.1f} × {c:.1f} Å"
    return text if spheres <= MAX_SPHERES else f"{text}; only the nearest atoms are drawn"


def _colour(number: int) -> str:
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in jmol_colors[number])


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
