"""Altered copies: what surrounds a generated crystal in configuration and composition space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from matgl_fill.config.config import FillConfig
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.generation.moves import Rattle, Strain, Substitute

ATTEMPTS = 5
"""Tries before a copy whose atoms come too close is given up."""


def elements_of(structures: Sequence[Structure]) -> tuple[str, ...]:
    """Sorted symbols of all elements that occur."""
    return tuple(sorted({e.symbol for s in structures for e in s.elements}))


def altered_copies(
    crystals: Sequence[Structure],
    count: int,
    rng: np.random.Generator,
    rattle: float,
    strain: float,
    redecorate: float = 0.0,
    elements: tuple[str, ...] = (),
) -> list[Structure]:
    """Strained and rattled copies, some with other elements put in.

    Args:
        crystals: generated crystals.
        count: copies of each.
        rng: of all choices.
        rattle: largest standard deviation of displacements, Angstrom.
        strain: standard deviation of strain components.
        redecorate: probability that a copy also gets other elements (and the matching volume).
        elements: that may be put in.

    Returns:
        At most ``count`` copies of each crystal, none with atoms closer than ``MIN_DISTANCE``.
    """
    out: list[Structure] = []
    for crystal in (c for _ in range(count) for c in crystals):
        for _ in range(ATTEMPTS):
            base = crystal
            if rng.random() < redecorate and (done := Substitute(elements)(crystal, rng)):
                base = done[0]
            copy = Rattle(0.1 * rattle, rattle)(Strain(strain)(base, rng)[0], rng)[0]
            if closest_ratio(copy) >= MIN_DISTANCE:
                out.append(copy)
                break
    return out


def teaching_copies(
    crystals: Sequence[Structure],
    known: Sequence[Structure],
    elements: tuple[str, ...],
    config: FillConfig,
    rng: np.random.Generator,
) -> list[Structure]:
    """Altered copies of the generated crystals first, then of the known ones where these are few and taught too."""
    how = (rng, config.rattle, config.strain, config.redecorate, elements)
    of_each = min(config.copies, config.enlarge_pool // len(known) - 1) if config.pool_descriptor_weight else 0
    return altered_copies(crystals, config.copies, *how) + altered_copies(known, of_each, *how)
