"""Units in which changes are judged: which crystals, and how large a force is."""

from __future__ import annotations

import numpy as np

LEAST_FORCE = 0.01
"""Mean force component, eV/Angstrom, below which forces count as vanishing: those of elements and of rock salts do."""


def small_rows(sizes: np.ndarray, most: int, least: int) -> np.ndarray:
    """Rows of crystals of at most ``most`` atoms, by their sizes (n,); of fewer than ``least``, the smallest instead.

    Example:
        >>> small_rows(np.array([8, 40, 2]), 10, 2).tolist(), small_rows(np.array([8, 40, 2]), 2, 2).tolist()
        ([0, 2], [2, 0])
    """
    rows = np.flatnonzero(sizes <= most)
    return rows if len(rows) >= least else np.argsort(sizes, kind="stable")[:least]


def force_scale(forces: np.ndarray) -> float:
    """Mean force component, eV/Angstrom, that changes are measured by; of vanishing forces more than their rounding."""
    return max(float(np.abs(forces).mean()), LEAST_FORCE)
