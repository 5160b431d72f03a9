"""Decoding: crystals at chosen latent points, by search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.errors import GenerationError
from matgl_fill.generate.filters import Filters
from matgl_fill.generate.moves import Chain, Move, Rattle, Strain, Substitute
from matgl_fill.progress import track

PARENTS = 8
"""Pool crystals next to a target that candidates start from."""
CANDIDATES = 24
"""Candidates per crystal wanted and round."""
ROUNDS = 2
"""Rounds of search; from the second on, the best candidates so far are the parents."""
BEST = 4
"""Candidates of a round that are parents of the next."""
MAX_ATOMS = 24
"""Larger parents are left alone: they cost more than they teach."""
MAX_PER_PARENT = 2
"""Crystals in the final set that descend from one pool crystal."""


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


@dataclass
class _Candidate:
    structure: Structure
    parent: int
    moves: str
    distance: float = np.inf


class Decoder:
    """Finds crystals near latent points.

    Each target starts from its nearest pool crystals. Every round mutates them (substitution, strain, rattle),
    drops what :class:`~matgl_fill.generate.filters.Filters` refuses, embeds the rest together and keeps the nearest.

    Args:
        adapter: of the model.
        structures: (n) pool crystals.
        ids: (n) their ids.
        X: (n, d) their scaled embedding.
        scale: maps (m, d) latent points to scaled ones.
        seed: of all random choices.
    """

    def __init__(
        self, adapter: Adapter, structures: Sequence[Structure], ids: Sequence[str], Z: np.ndarray, seed: int
    ) -> None:
        self.adapter, self.structures, self.ids = adapter, structures, ids
        self.origin, self.extent = Z.mean(axis=0), np.maximum(Z.std(axis=0), 1e-9)
        self.X = self._scale(Z)
        self.rng = np.random.default_rng(seed)
        self.filters = Filters(adapter, structures)
        self.refused: Counter[str] = Counter()
        self.parents = np.array([i for i, s in enumerate(structures) if len(s) <= MAX_ATOMS])
        if len(self.parents) == 0:
            raise GenerationError(f"no crystal of the pool has at most {MAX_ATOMS} atoms; add smaller ones.")
        present = {e.symbol for s in structures for e in s.elements}
        elements = tuple(sorted(present & set(adapter.element_types)))
        self.first: tuple[Move, ...] = (Chain((Substitute(elements), Strain(0.015), Rattle(0.01, 0.05))),)
        self.later: tuple[Move, ...] = (
            Chain((Strain(0.01), Rattle(0.005, 0.03))),
            Chain((Substitute(elements), Strain(0.01), Rattle(0.005, 0.03))),
        )

    def _scale(self, Z: np.ndarray) -> np.ndarray:
        return (Z - self.origin) / self.extent

    def decode(self, targets: np.ndarray, n: int) -> list[list[_Candidate]]:
        """Candidates for every target (m, dim), nearest first, enough for n crystals in all."""
        T = self._scale(targets)
        each = -(-n // len(T))
        found: list[list[_Candidate]] = [[] for _ in T]
        sources = [self._nearest(t, PARENTS * each) for t in T]
        for _ in track(range(ROUNDS), "decoding latent targets"):
            for t, new in enumerate(self._round(sources, T, self.later if found[0] else self.first, each)):
                found[t] = sorted(found[t] + new, key=lambda c: c.distance)
                sources[t] = found[t][: BEST * each] or sources[t]
        return found

    def _nearest(self, target: np.ndarray, count: int) -> list[_Candidate]:
        distance = np.linalg.norm(self.X[self.parents] - target, axis=1)
        near = self.parents[np.argsort(distance, kind="stable")[:count]]
        return [_Candidate(self.structures[i], int(i), "") for i in near]

    def _round(
        self, sources: list[list[_Candidate]], T: np.ndarray, moves: Sequence[Move], each: int
    ) -> list[list[_Candidate]]:
        new: list[list[_Candidate]] = [[] for _ in T]
        for t, parents in enumerate(sources):
            for k in range(CANDIDATES * each):
                if candidate := self._mutate(parents[k % len(parents)], moves):
                    new[t].append(candidate)
        flat = [c for group in new for c in group]
        X = self._scale(self.adapter.embed_graphs(self.adapter.graphs([c.structure for c in flat]))[0])
        where = np.repeat(np.arange(len(T)), [len(g) for g in new])
        for candidate, distance in zip(flat, np.linalg.norm(X - T[where], axis=1), strict=True):
            candidate.distance = float(distance)
        return new

    def _mutate(self, parent: _Candidate, moves: Sequence[Move]) -> _Candidate | None:
        done = moves[int(self.rng.integers(len(moves)))](parent.structure, self.rng)
        if done is None:
            self.refused["no substitution possible"] += 1
            return None
        if reason := self.filters.refuse(done[0]):
            self.refused[reason.split(" ")[0]] += 1
            return None
        return _Candidate(done[0], parent.parent, "; ".join(m for m in (parent.moves, done[1]) if m))


def select(decoder: Decoder, targets: np.ndarray, roughness: np.ndarray, n: int, unit: float) -> list[Proposal]:
    """The n crystals that cover the targets best, none a duplicate of the pool or of each other.

    Every target gives its nearest acceptable candidate, then its second, and so on, until there are n;
    at most ``MAX_PER_PARENT`` descend from one pool crystal.

    Args:
        decoder: to decode with.
        targets: (m, dim) latent points, most wanted first.
        roughness: (m,) local roughness there.
        n: crystals wanted.
        unit: scaled distance that counts as 1 in :attr:`Proposal.distance`.
    """
    queues = decoder.decode(targets, n)
    used: Counter[int] = Counter()
    out: list[Proposal] = []
    while len(out) < n and any(queues):
        for t, queue in enumerate(queues):
            while queue and len(out) < n:
                candidate = queue.pop(0)
                if used[candidate.parent] >= MAX_PER_PARENT or decoder.filters.duplicate(candidate.structure):
                    continue
                decoder.filters.accept(candidate.structure)
                used[candidate.parent] += 1
                name = f"fill-{len(out) + 1:04d}"
                distance = candidate.distance / unit
                parent, moves = decoder.ids[candidate.parent], candidate.moves
                out.append(
                    Proposal(name, candidate.structure, parent, moves, targets[t], distance, float(roughness[t]))
                )
                break
    return out
