"""Selection: which of the decoded candidates become proposals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure
from sklearn.neighbors import NearestNeighbors

from matgl_fill.generate.decode import Candidate, Decoder

MAX_PER_PARENT = 2
"""Crystals in the final set that descend from one pool crystal ..."""
MAX_PER_FORMULA = 2
"""... and that have one reduced formula."""
NOVEL = 0.05
"""A crystal nearer than this to a pool crystal, or to another of the set, is no news to the model; in units of the
pool's median distance between nearest neighbours."""


@dataclass(frozen=True)
class Proposal:
    """A new crystal for a latent target.

    Attributes:
        id: ``fill-0001`` and so on.
        structure: the crystal.
        parent: id of the pool crystal it descends from.
        moves: what was done to the parent.
        target: (dim,) latent point asked for.
        distance: latent distance between crystal and target, over the pool's median nearest-neighbour distance.
        roughness: local roughness at the target.
    """

    id: str
    structure: Structure
    parent: str
    moves: str
    target: np.ndarray
    distance: float
    roughness: float


class _Taken:
    """What was taken so far, and whether one more may be."""

    def __init__(self, decoder: Decoder, unit: float) -> None:
        self._filters = decoder.filters
        self._filters.set_latent(decoder.X, NOVEL * unit)
        self._parents: Counter[int] = Counter()
        self._formulas: Counter[str] = Counter()

    def take(self, c: Candidate) -> bool:
        """Take a candidate if it is new and its parent and formula are not used up."""
        formula = c.structure.composition.reduced_formula
        if self._parents[c.parent] >= MAX_PER_PARENT or self._formulas[formula] >= MAX_PER_FORMULA:
            return False
        if self._filters.duplicate(c.structure, c.x):
            return False
        self._filters.accept(c.structure, c.x)
        self._parents[c.parent] += 1
        self._formulas[formula] += 1
        return True


def select(decoder: Decoder, targets: np.ndarray, roughness: np.ndarray, n: int) -> list[Proposal]:
    """The n crystals that cover the targets best, none a duplicate of the pool or of each other.

    Every target gives its nearest acceptable candidate, then its second, and so on, until there are n; see
    :data:`MAX_PER_PARENT`, :data:`MAX_PER_FORMULA` and :data:`NOVEL`.

    Args:
        decoder: to decode with.
        targets: (m, dim) latent points, most wanted first.
        roughness: (m,) local roughness there.
        n: crystals wanted.
    """
    nearest = NearestNeighbors(n_neighbors=2).fit(decoder.X).kneighbors(decoder.X)[0][:, 1]
    unit = max(float(np.median(nearest)), 1e-9)
    queues = decoder.decode(targets, n)
    taken = _Taken(decoder, unit)
    out: list[Proposal] = []
    while len(out) < n and any(queues):
        for t, queue in enumerate(queues):
            while queue and len(out) < n:
                c = queue.pop(0)
                if taken.take(c):
                    name = f"fill-{len(out) + 1:04d}"
                    parent, distance = decoder.ids[c.parent], c.distance / unit
                    out.append(Proposal(name, c.structure, parent, c.moves, targets[t], distance, float(roughness[t])))
                    break
    return out
