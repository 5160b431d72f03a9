"""Selection of the decoded candidates that become proposals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure
from sklearn.neighbors import NearestNeighbors

from matgl_fill.config.config import Kind
from matgl_fill.generation.candidate import Candidate
from matgl_fill.generation.charge import balance
from matgl_fill.generation.decoder import Decoder
from matgl_fill.generation.targets import Targets

MAX_PER_PARENT = 2
"""Largest number of crystals in the final set that descend from one pool crystal."""
MAX_PER_FORMULA = 2
"""Largest number of crystals in the final set that have one reduced formula."""
NOVEL = 0.05
"""Latent distance to a pool crystal, or to another of the set, below which a crystal is nothing new to the model; in
units of the pool's median distance between nearest neighbours."""


@dataclass(frozen=True)
class Proposal:
    """A new crystal for a latent target, or a configuration around a known one.

    The target of a configuration is its parent, the known crystal.

    Attributes:
        id: Name of the crystal, ``fill-0001`` and so on.
        structure: The crystal.
        parent: Id of the pool crystal that it descends from.
        moves: Record of what was done to the parent.
        target: Latent point (dim,) asked for.
        target_row: Row of that target, 0 for the most wanted.
        distance: Latent distance between crystal and target, over the pool's median nearest-neighbour distance; NaN
            where the pool is too small for one.
        roughness: Local roughness at the target; NaN where the pool is too small for it.
        kind: Kind of configuration, see :mod:`matgl_fill.generation.configurations`; None of a crystal for a property
            model, or one that was supplied.
        displacement: Root mean square displacement of the configuration's atoms, Angstrom.
        strain: Largest principal strain of its cell, without sign.
    """

    id: str
    structure: Structure
    parent: str
    moves: str
    target: np.ndarray
    target_row: int
    distance: float
    roughness: float
    kind: Kind | None = None
    displacement: float | None = None
    strain: float | None = None


@dataclass(frozen=True)
class Selection:
    """Result of a search.

    Attributes:
        proposals: The new crystals, in the order in which they were taken.
        targets: Latent points asked for, with the local roughness there.
        unit: The pool's median distance between nearest neighbours, in standardised latent dimensions; NaN where the
            pool is too small for one.
        refused: Number of candidates that each filter was the first to refuse.
        passed_over: Number of candidates that passed the filters but were not taken, by reason: ``parent`` or
            ``formula`` used up, ``known`` in the pool or the set, ``alloys`` (too many without oxidation states).
    """

    proposals: list[Proposal]
    targets: Targets
    unit: float
    refused: Counter[str]
    passed_over: Counter[str]


class _Taken:
    """What was taken so far, and whether one more may be."""

    def __init__(self, decoder: Decoder, unit: float) -> None:
        self._filters = decoder.filters
        self._filters.set_latent(decoder.X, NOVEL * unit)
        self._filters.unassignable = float(np.mean([balance(s) is None for s in decoder.pool.structures]))
        self._parents: Counter[int] = Counter()
        self._formulas: Counter[str] = Counter()
        self._put_off: set[int] = set()
        self.passed_over: Counter[str] = Counter()

    def take(self, queue: list[Candidate]) -> Candidate | None:
        """The nearest candidate of a queue that may be taken now.

        Those before it that may never be taken leave the queue; those without oxidation states stay while the set has
        too many of them.
        """
        waiting: list[Candidate] = []
        found = None
        while queue and found is None:
            c = queue.pop(0)
            if self._filters.surplus(c.structure):
                waiting.append(c)
            elif reason := self._against(c):
                self.passed_over[reason] += 1
            else:
                found = c
                self._filters.accept(c.structure, c.x)
                self._parents[c.parent] += 1
                self._formulas[c.structure.composition.reduced_formula] += 1
        queue[:0] = waiting
        self._put_off |= {id(c) for c in waiting}
        return found

    def count_put_off(self, queues: list[list[Candidate]]) -> None:
        """Count those that waited until the end."""
        self.passed_over["alloys"] = sum(id(c) in self._put_off for queue in queues for c in queue)

    def _against(self, c: Candidate) -> str | None:
        """Why the candidate may not be taken, now and later."""
        if self._parents[c.parent] >= MAX_PER_PARENT:
            return "parent"
        if self._formulas[c.structure.composition.reduced_formula] >= MAX_PER_FORMULA:
            return "formula"
        return "known" if self._filters.duplicate(c.structure, c.x) else None


def latent_unit(X: np.ndarray) -> float:
    """Median distance between nearest neighbours of standardised latent points (n, d)."""
    nearest = NearestNeighbors(n_neighbors=2).fit(X).kneighbors(X)[0][:, 1]
    return max(float(np.median(nearest)), 1e-9)


def select(decoder: Decoder, targets: Targets, n: int) -> Selection:
    """Select the n crystals that cover the targets best, none a duplicate of the pool or of each other.

    Every target gives its nearest acceptable candidate, then its second, and so on, until there are n; see
    :data:`MAX_PER_PARENT`, :data:`MAX_PER_FORMULA` and :data:`NOVEL`. At every moment the share of crystals without
    oxidation states (elements, alloys) is at most that of the pool; candidates beyond it wait for the others.

    Args:
        decoder: Decoder of the pool.
        targets: The m latent points, most wanted first.
        n: Number of crystals wanted.
    """
    unit = latent_unit(decoder.X)
    queues = decoder.decode(targets.points, n)
    taken = _Taken(decoder, unit)
    out: list[Proposal] = []
    before = -1
    while before < len(out) < n:
        before = len(out)
        for t, queue in enumerate(queues):
            if len(out) < n and (c := taken.take(queue)):
                name = f"fill-{len(out) + 1:04d}"
                parent, distance = decoder.pool.ids[c.parent], c.distance / unit
                point, local = targets.points[t], float(targets.roughness[t])
                out.append(Proposal(name, c.structure, parent, c.moves, point, t, distance, local))
    taken.count_put_off(queues)
    return Selection(out, targets, unit, decoder.refused, taken.passed_over)
