"""The crystals on which changes of forces are judged, and the unit of these changes."""

from __future__ import annotations

import numpy as np

LEAST_FORCE = 0.01
"""Mean force component, eV/Angstrom, below which forces count as zero, as those of elements and of rock salts are."""


def small_rows(sizes: np.ndarray, most: int, least: int) -> np.ndarray:
    """Rows of the crystals of at most ``most`` atoms, or of the ``least`` smallest if there are fewer of these.

    Args:
        sizes: Numbers of atoms, (n,).
        most: Largest number of atoms.
        least: Least number of rows.

    Example:
        >>> small_rows(np.array([8, 40, 2]), 10, 2).tolist(), small_rows(np.array([8, 40, 2]), 2, 2).tolist()
        ([0, 2], [2, 0])
    """
    rows = np.flatnonzero(sizes <= most)
    return rows if len(rows) >= least else np.argsort(sizes, kind="stable")[:least]


def force_scale(forces: np.ndarray) -> float:
    """Mean absolute force component, eV/Angstrom, by which changes are measured; :data:`LEAST_FORCE` at least.

    The lower limit keeps rounding from counting as a change where the forces are zero by symmetry.
    """
    return max(float(np.abs(forces).mean()), LEAST_FORCE)
