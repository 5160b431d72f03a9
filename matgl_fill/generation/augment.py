"""Augmentations: crystals around a generated one in configuration and composition space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from matgl_fill.config import ResolvedTraining
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.generation.moves import Rattle, Strain, Substitute

ATTEMPTS = 5
"""Number of tries before an augmentation whose atoms come too close is given up."""


def augmentations(
    crystals: Sequence[Structure],
    count: int,
    rng: np.random.Generator,
    rattle: float,
    strain: float,
    redecorate: float = 0.0,
    elements: tuple[str, ...] = (),
) -> list[Structure]:
    """Make strained and rattled crystals, some with other elements put in.

    Args:
        crystals: Crystals to augment.
        count: Number of augmentations of each.
        rng: Generator of all random choices.
        rattle: Largest standard deviation of displacements, Angstrom.
        strain: Standard deviation of strain components.
        redecorate: Probability that an augmentation also gets other elements (and the matching volume).
        elements: Elements that may be put in.

    Returns:
        At most ``count`` augmentations of each crystal, none with atoms closer than ``MIN_DISTANCE``.
    """
    out: list[Structure] = []
    for crystal in (c for _ in range(count) for c in crystals):
        for _ in range(ATTEMPTS):
            base = crystal
            if rng.random() < redecorate and (done := Substitute(elements)(crystal, rng)):
                base = done[0]
            new = Rattle(0.1 * rattle, rattle)(Strain(strain)(base, rng)[0], rng)[0]
            if closest_ratio(new) >= MIN_DISTANCE:
                out.append(new)
                break
    return out


def training_augmentations(
    crystals: Sequence[Structure],
    pool: Sequence[Structure],
    elements: tuple[str, ...],
    settings: ResolvedTraining,
    rng: np.random.Generator,
) -> list[Structure]:
    """Augment the generated crystals first, then those of the pool where they are few and trained on too.

    Args:
        crystals: Generated crystals.
        pool: Crystals of the pool that are trained on.
        elements: Elements that may be put in.
        settings: Settings of the number of augmentations (``copies``, ``enlarge_pool``) and of their strength.
        rng: Generator of all random choices.
    """
    how = (rng, settings.rattle, settings.strain, settings.redecorate, elements)
    of_each = min(settings.copies, settings.enlarge_pool // len(pool) - 1) if settings.pool_descriptor_weight else 0
    return augmentations(crystals, settings.copies, *how) + augmentations(pool, of_each, *how)
