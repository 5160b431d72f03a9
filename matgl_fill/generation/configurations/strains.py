"""Strained cells with the atoms at rest."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Structure

from matgl_fill.generation.configurations.amplitudes import STRAIN, disturbed
from matgl_fill.generation.configurations.base import Configuration, one_by_one
from matgl_fill.structures import rebuilt


@one_by_one
def strained(
    crystal: Structure,
    rng: np.random.Generator,
    max_atoms: int,  # noqa: ARG001, the cell stays as large as it is
) -> Configuration | None:
    """Strain the cell: one half by volume alone, smaller and larger, the other in any of the six directions."""
    if rng.random() < 0.5:
        return disturbed(crystal, "", rng, displaced=False)
    stretch = rng.uniform(-STRAIN, STRAIN)
    new = rebuilt(crystal, crystal.lattice.matrix * (1 + stretch))
    return Configuration(new, f"volume x {(1 + stretch) ** 3:.3f}", 0.0, abs(stretch))
