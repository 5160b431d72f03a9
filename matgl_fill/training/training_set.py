"""The crystals of a training, which were generated or supplied, and their augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from matgl_fill.config import ResolvedTraining
from matgl_fill.embedding import Pool
from matgl_fill.generation import Proposal, training_augmentations
from matgl_fill.training.labels import Labels


@dataclass(frozen=True)
class TrainingSet:
    """Crystals that a training learns from.

    Attributes:
        crystals: Crystals that an oracle labels or that came with labels: the proposals, and some of their
            augmentations where an oracle is to label these too.
        augmentations: Altered copies, which only label-free objectives see.
        labels: Labels of ``crystals``, if they came with some; then no oracle is asked.
    """

    crystals: list[Structure]
    augmentations: list[Structure]
    labels: Labels | None = None

    @property
    def all(self) -> list[Structure]:
        """All crystals, followed by the augmentations."""
        return [*self.crystals, *self.augmentations]


def make_training_set(
    proposals: Sequence[Proposal],
    labels: Labels | None,
    pool: Pool,
    rest: np.ndarray,
    settings: ResolvedTraining,
    rng: np.random.Generator,
) -> TrainingSet:
    """Make a training set from proposals by augmentation.

    Args:
        proposals: The n crystals to learn from.
        labels: Labels of the crystals, if they came with any.
        pool: Pool of the run, whose elements the augmentations may get.
        rest: Rows of the pool that training may see; where there are few, they are augmented too.
        settings: Number and strength of the augmentations.
        rng: Generator of all random choices.
    """
    crystals = [p.structure for p in proposals]
    known = [pool.structures[i] for i in rest]
    more = training_augmentations(crystals, known, pool.elements, settings, rng)
    labelled = settings.oracle_copies * len(crystals) if labels is None else 0
    return TrainingSet(crystals + more[:labelled], more[labelled:], labels)
