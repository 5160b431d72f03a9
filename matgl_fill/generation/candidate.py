"""Candidates: crystals on the way to a latent target, and the state of the search for each target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pymatgen.core import Structure

PER_FORMULA = 3
"""At most this many of the candidates that survive a round have one formula."""


@dataclass(frozen=True)
class Candidate:
    """A crystal on the way to a target.

    Attributes:
        structure: The crystal.
        parent: Row of the pool crystal that it descends from.
        moves: Record of what was done to the parent; empty for the pool crystal itself.
        distance: Scaled distance to the target.
        x: Scaled embedding (d,).
    """

    structure: Structure
    parent: int
    moves: str
    distance: float
    x: np.ndarray

    def altered(self, structure: Structure, record: str) -> Candidate:
        """Make a descendant, which has to be embedded yet."""
        return replace(self, structure=structure, moves="; ".join(m for m in (self.moves, record) if m))


@dataclass
class Search:
    """State of the search for one target.

    Attributes:
        found: Nearest candidates so far, pool crystals among them.
        tried: Parent and formula of every candidate with other elements, so that none is made twice.
    """

    found: list[Candidate]
    tried: set[tuple[int, str]]


def survivors(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Select the nearest candidates, nearest first, at most :data:`PER_FORMULA` of one formula.

    Args:
        candidates: Candidates of one target, in any order.
        count: Largest number of survivors.
    """
    formulas: Counter[str] = Counter()
    out: list[Candidate] = []
    for c in sorted(candidates, key=lambda c: c.distance):
        formula = c.structure.composition.reduced_formula
        formulas[formula] += 1
        if formulas[formula] <= PER_FORMULA and len(out) < count:
            out.append(c)
    return out
