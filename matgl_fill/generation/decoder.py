"""Decoding: crystals at chosen latent points, by guided search and by gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.embedding.pool import Pool
from matgl_fill.errors import GenerationError
from matgl_fill.generation.alchemy import start, transmute
from matgl_fill.generation.filters import Filters
from matgl_fill.generation.moves import Chain, Move, Rattle, Strain, Substitute
from matgl_fill.generation.prior import DecorateLikely, Guide, MixLikely, ReplaceLikely, Wanted
from matgl_fill.generation.refine import refine
from matgl_fill.generation.search_state import load_search, save_search, search_key
from matgl_fill.roughness.landscape.batches import one_blas_thread
from matgl_fill.utils.console import track

PARENTS = 24
"""Pool crystals next to a target that the search starts from."""
PROTOTYPES = 30
"""Pool crystals of likely structure on which elements are put."""
DRAWS = 5
"""Crystals drawn from each mixture of elements, beside the likeliest."""


class Effort(NamedTuple):
    """What a search may cost.

    Attributes:
        rounds: of the search, unless more are asked for.
        starts: of the nearest and of the likely prototypes each, crystals whose elements are sought by gradient in a
            round; none where that costs more than it brings.
        candidates: drawn by chance per crystal wanted and round.
        refined: per crystal wanted, candidates whose atoms and cell are refined by gradient.
    """

    rounds: int
    starts: int
    candidates: int
    refined: int


EFFORTS = {True: Effort(1, 4, 30, 2), False: Effort(3, 0, 20, 1)}
"""Of models that search by gradient, and of those whose gradients are too dear (docs/settings.md)."""
SURVIVORS = 10
"""Candidates that are parents of the next round ..."""
PER_FORMULA = 3
"""... of which at most this many have one formula."""
TRIES = 4
"""Draws per candidate before a round ends short of them."""
MAX_ATOMS = 24
"""Larger parents are left alone: they cost more than they teach."""
CHEMICAL = (1.0, 0.7)
"""Share of candidates that get other elements, in the first and in the last round."""
COOLED = 0.3
"""Size of geometric changes in the last round over that in the first."""
SHARES = {"like": 0.1, "replace": 0.4, "decorate": 0.2, "prototype": 0.15, "mix": 0.15}
"""Of those with other elements: substituted by likeness, one element replaced by a likely one, all of them, another
prototype, or one replaced on a part of its sites."""


@dataclass(frozen=True)
class Candidate:
    """A crystal on the way to a target.

    Attributes:
        structure: the crystal.
        parent: row of the pool crystal it descends from.
        moves: what was done to that; empty for the pool crystal itself.
        distance: scaled distance to the target.
        x: (d,) its scaled embedding.
    """

    structure: Structure
    parent: int
    moves: str
    distance: float
    x: np.ndarray

    def altered(self, structure: Structure, record: str) -> Candidate:
        """A descendant, not embedded yet."""
        return replace(self, structure=structure, moves="; ".join(m for m in (self.moves, record) if m))


@dataclass
class Search:
    """Where the search of one target stands.

    Attributes:
        found: nearest candidates so far, pool crystals among them.
        tried: parent and formula of every candidate with other elements, so that none is made twice.
    """

    found: list[Candidate]
    tried: set[tuple[int, str]]


class Decoder:
    """Finds crystals near latent points.

    A local regression, the :class:`~matgl_fill.generation.prior.Guide`, tells the likely elements, volume and structure
    at a target. The search starts from the target's nearest pool crystals and has two steps a round. By gradient, where
    the adapter says so: the atoms of the best so far and of likely prototypes become mixtures of elements that descend
    on the latent distance (:func:`~matgl_fill.generation.alchemy.transmute`). By chance: the best so far get other
    elements or another geometry, or their elements go on another prototype. What the filters refuse is dropped, the
    rest is embedded together and the guide learns from it; the nearest are the next parents. At last atoms and cell of
    the nearest descend on the latent distance (:func:`~matgl_fill.generation.refine.refine`).

    Every target and round draws from a generator of its own, seeded by both, and threads do not change a bit: one seed
    gives one result.

    Args:
        adapter: of the model.
        pool: n crystals with their embeddings (n, dim) and descriptors (n, k).
        seed: of all random choices.
        rounds: of the search, by default what :data:`EFFORTS` says; every one costs the same, and the first brings
            most.
        checkpoint: file to which the search is saved after every step, and from which it goes on.

    Raises:
        GenerationError: the pool has large crystals only.
    """

    def __init__(
        self,
        adapter: Adapter,
        pool: Pool,
        seed: int,
        rounds: int | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.adapter, self.pool, self.seed = adapter, pool, seed
        effort = EFFORTS[adapter.search_by_gradient]
        self.effort, self.checkpoint = effort if rounds is None else effort._replace(rounds=rounds), checkpoint
        self.origin, self.extent = pool.Z.mean(axis=0), np.maximum(pool.Z.std(axis=0), 1e-9)
        self.X = (pool.Z - self.origin) / self.extent
        self.filters = Filters(adapter, pool.structures, max_atoms=MAX_ATOMS)
        self.refused: Counter[str] = Counter()
        self.parents = np.array([i for i, s in enumerate(pool.structures) if len(s) <= MAX_ATOMS])
        if len(self.parents) == 0:
            raise GenerationError(f"no crystal of the pool has at most {MAX_ATOMS} atoms; add smaller ones.")
        present = {e.symbol for s in pool.structures for e in s.elements}
        elements = tuple(sorted(present & set(adapter.element_types)))
        self.guide = Guide(pool, self.X, elements)
        self._like = Substitute(elements, volumes=self.guide.volumes)

    def decode(self, targets: np.ndarray, n: int) -> list[list[Candidate]]:
        """New candidates for every target (m, dim), nearest first, enough for n crystals in all.

        Raises:
            InputError: the checkpoint is of another search.
        """
        with one_blas_thread():
            return self._decode(targets, n)

    def _decode(self, targets: np.ndarray, n: int) -> list[list[Candidate]]:
        T = (targets - self.origin) / self.extent
        each = -(-n // len(T))
        prototypes = [self._likely_prototypes(t) for t in T]
        searches = [Search(self._nearest(t, PARENTS * each), set()) for t in T]
        key = search_key(self.adapter, self.X, T, (self.seed, n, *self.effort))
        done = load_search(self.checkpoint, key, searches, self.guide, self.refused) if self.checkpoint else 0
        makers: list[Callable[..., list[list[Candidate]]]] = [partial(self._drafted, self.effort.candidates * each)]
        if self.effort.starts and self.adapter.element_tables:
            makers.insert(0, self._transmuted)
        for step in track(range(done, len(makers) * self.effort.rounds), "searching crystals"):
            turn, kind = divmod(step, len(makers))
            self._keep(searches, self._embedded(makers[kind](searches, T, prototypes, turn), T), each)
            if self.checkpoint:
                save_search(self.checkpoint, key, step + 1, searches, self.guide, self.refused)
        new = [[c for c in s.found if c.moves] for s in searches]
        return self._refined(new, T, targets, self.effort.refined * each)

    def _keep(self, searches: list[Search], new: list[list[Candidate]], each: int) -> None:
        """Learn from new candidates, and keep the nearest."""
        self.guide.learn([c for group in new for c in group])
        for search, more in zip(searches, new, strict=True):
            search.found = survivors(search.found + more, SURVIVORS * each)

    def _transmuted(
        self, searches: list[Search], T: np.ndarray, prototypes: list[np.ndarray], turn: int
    ) -> list[list[Candidate]]:
        """Crystals whose elements came by gradient, as the filters accept them."""
        out: list[list[Candidate]] = [[] for _ in T]
        count, starts = self.effort.starts, []
        for t, (search, point) in enumerate(zip(searches, T, strict=True)):
            likely = self.guide.wanted(point).likely()
            rows = prototypes[t][turn * count : (turn + 1) * count].tolist()
            bases = [(c.structure, c.parent) for c in search.found[:count]] + [
                (self.pool.structures[i], i) for i in rows
            ]
            starts += [start(self.adapter, structure, row, t, likely) for structure, row in bases]
        for k, mixture in enumerate(transmute(self.adapter, starts, T, (self.origin, self.extent))):
            rng = np.random.default_rng((self.seed, turn, mixture.target, k))
            for crystal, record in mixture.crystals(self.adapter.element_types, DRAWS, rng):
                searches[mixture.target].tried.add((mixture.parent, crystal.formula))
                if self._accepted(crystal):
                    base = self._known(mixture.parent)
                    out[mixture.target].append(base.altered(crystal, record))
        return out

    def _drafted(
        self, count: int, searches: list[Search], T: np.ndarray, prototypes: list[np.ndarray], turn: int
    ) -> list[list[Candidate]]:
        """Crystals made by chance, up to ``count`` for every target."""
        return [self._drafts(s, T[t], prototypes[t], (t, turn), count) for t, s in enumerate(searches)]

    def _nearest(self, point: np.ndarray, count: int) -> list[Candidate]:
        """The pool crystals nearest to a scaled target."""
        distance = np.linalg.norm(self.X[self.parents] - point, axis=1)
        order = np.argsort(distance, kind="stable")[:count]
        rows = zip(self.parents[order].tolist(), distance[order].tolist(), strict=True)
        return [Candidate(self.pool.structures[i], i, "", d, self.X[i]) for i, d in rows]

    def _known(self, row: int) -> Candidate:
        """A pool crystal to start from."""
        return Candidate(self.pool.structures[row], row, "", np.inf, self.X[row])

    def _likely_prototypes(self, point: np.ndarray) -> np.ndarray:
        """Rows of pool crystals whose structure is likely at a scaled target."""
        return self.parents[np.argsort(self.guide.unlike(point)[self.parents], kind="stable")[:PROTOTYPES]]

    def _drafts(
        self, search: Search, point: np.ndarray, prototypes: np.ndarray, key: tuple[int, int], count: int
    ) -> list[Candidate]:
        """Altered copies of the best so far that the filters accept, not embedded yet."""
        rng = np.random.default_rng((self.seed, *key))
        late = key[1] / max(self.effort.rounds - 1, 1)
        chemical = CHEMICAL[0] + (CHEMICAL[1] - CHEMICAL[0]) * late
        size = COOLED**late
        geometry: Move = Chain((Strain(0.03 * size), Rattle(0.01 * size, 0.1 * size)))
        wanted = self.guide.wanted(point)
        rank = np.exp(-np.arange(len(search.found)) / max(len(search.found) / 3, 1))
        drafts: list[Candidate] = []
        for i in rng.choice(len(search.found), TRIES * count, p=rank / rank.sum()).tolist():
            if len(drafts) == count:
                break
            base, move = search.found[i], geometry
            if other := rng.random() < chemical:
                base, move = self._chemical(base, wanted, prototypes, rng)
            made = move(base.structure, rng)
            if made is None or (other and (base.parent, made[0].formula) in search.tried):
                continue
            if other:
                search.tried.add((base.parent, made[0].formula))
            if self._accepted(made[0]):
                drafts.append(base.altered(*made))
        return drafts

    def _chemical(
        self, base: Candidate, wanted: Wanted, prototypes: np.ndarray, rng: np.random.Generator
    ) -> tuple[Candidate, Move]:
        """What to alter, and a move that brings other elements."""
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "prototype":
            row = int(rng.choice(prototypes))
            symbols = tuple(sorted({e.symbol for e in base.structure.elements}))
            return self._known(row), DecorateLikely(wanted, symbols)
        moves: dict[str, Move] = {
            "like": self._like,
            "replace": ReplaceLikely(wanted),
            "decorate": DecorateLikely(wanted),
            "mix": MixLikely(wanted, MAX_ATOMS),
        }
        return base, moves[kind]

    def _accepted(self, structure: Structure) -> bool:
        """Whether the filters accept; refusals are counted."""
        reason = self.filters.refuse(structure)
        if reason:
            self.refused[reason.split(":")[0]] += 1
        return reason is None

    def _embedded(self, drafts: list[list[Candidate]], T: np.ndarray) -> list[list[Candidate]]:
        """Drafts of every scaled target with embedding and distance, embedded together."""
        flat = [d for group in drafts for d in group]
        if not flat:
            return drafts
        Z = self.adapter.embed_graphs(self.adapter.graphs([d.structure for d in flat]))[0]
        X = (Z - self.origin) / self.extent
        where = np.repeat(np.arange(len(T)), [len(g) for g in drafts])
        out: list[list[Candidate]] = [[] for _ in T]
        for draft, t, x in zip(flat, where.tolist(), X, strict=True):
            out[t].append(replace(draft, x=x, distance=float(np.linalg.norm(x - T[t]))))
        return out

    def _refined(
        self, new: list[list[Candidate]], T: np.ndarray, targets: np.ndarray, count: int
    ) -> list[list[Candidate]]:
        """All new candidates, and the nearest of them after refinement, nearest first."""
        chosen = [(t, c) for t, found in enumerate(new) for c in found[:count]]
        goals = targets[[t for t, _ in chosen]]
        trails = refine(self.adapter, [c.structure for _, c in chosen], goals, self.origin, self.extent)
        drafts: list[list[Candidate]] = [[] for _ in T]
        for (t, c), trail in zip(chosen, trails, strict=True):
            drafts[t] += [c.altered(s, "refined") for s in trail if self._accepted(s)]
        both = zip(new, self._embedded(drafts, T), strict=True)
        return [sorted(found + more, key=lambda c: c.distance) for found, more in both]


def survivors(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """The nearest candidates, at most :data:`PER_FORMULA` of one formula."""
    formulas: Counter[str] = Counter()
    out: list[Candidate] = []
    for c in sorted(candidates, key=lambda c: c.distance):
        formula = c.structure.composition.reduced_formula
        formulas[formula] += 1
        if formulas[formula] <= PER_FORMULA and len(out) < count:
            out.append(c)
    return out
