"""Decoding: crystals at chosen latent points, by guided search and by gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import SearchConfig
from matgl_fill.embedding import Pool
from matgl_fill.errors import GenerationError
from matgl_fill.generation.alchemy import start, transmute
from matgl_fill.generation.candidate import Candidate, Search, survivors
from matgl_fill.generation.filters import Filters
from matgl_fill.generation.moves import Chain, Move, Rattle, Strain, Substitute
from matgl_fill.generation.prior import CompositionPrior, DecorateLikely, MixLikely, Prediction, ReplaceLikely
from matgl_fill.generation.refine import refine
from matgl_fill.generation.search_state import SearchState
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import track
from matgl_fill.utils.counting import counted
from matgl_fill.utils.hashing import hash_model, hash_parts
from matgl_fill.utils.scaling import Scaling
from matgl_fill.utils.threads import one_blas_thread

PARENTS = 24
"""Number of pool crystals next to a target that the search starts from."""
PROTOTYPES = 30
"""Number of pool crystals of likely structure on which elements are put."""
DRAWS = 5
"""Number of crystals drawn from each mixture of elements, beside the likeliest."""


class SearchBudget(NamedTuple):
    """Budget of a search.

    Attributes:
        rounds: Number of rounds, unless another is asked for.
        starts: Number of crystals, of the nearest and of the likely prototypes each, whose elements are sought by
            gradient in a round; 0 where that costs more than it brings.
        candidates: Number of candidates drawn by chance per crystal wanted and round.
        refined: Number of candidates per crystal wanted whose atoms and cell are refined by gradient.
    """

    rounds: int
    starts: int
    candidates: int
    refined: int


BUDGETS = {True: SearchBudget(1, 4, 30, 2), False: SearchBudget(3, 0, 20, 1)}
"""Budget of models that search by gradient, and of those whose gradients are too expensive."""
SURVIVORS = 10
"""Number of candidates per crystal wanted that are parents of the next round."""
TRIES = 4
"""Number of draws per candidate before a round ends short of them."""
CHEMICAL = (1.0, 0.7)
"""Share of candidates that get other elements, in the first and in the last round."""
COOLED = 0.3
"""Size of geometric changes in the last round over that in the first."""
SHARES = {"like": 0.1, "replace": 0.4, "decorate": 0.2, "prototype": 0.15, "mix": 0.15}
"""Shares of the ways to other elements: substitution by likeness, one element replaced by a likely one, all of them
replaced, another prototype, or one element replaced on a part of its sites."""


class Decoder:
    """Decoder of latent points to crystals near them.

    A local regression, the :class:`~matgl_fill.generation.prior.CompositionPrior`, predicts the likely elements, volume
    and structure at a target. The search starts from the target's nearest pool crystals and has two steps a round. By
    gradient, where the adapter says so: the atoms of the best so far and of likely prototypes become mixtures of
    elements that descend on the latent distance (:func:`~matgl_fill.generation.alchemy.transmute`). By chance: the best
    so far get other elements or another geometry, or their elements go on another prototype. What the filters refuse is
    dropped, the rest is embedded together and the prior learns from it; the nearest are the next parents. At last atoms
    and cell of the nearest descend on the latent distance (:func:`~matgl_fill.generation.refine.refine`).

    Every target and round draws from a generator of its own, seeded by both, and threads do not change a bit: one seed
    gives one result.

    Args:
        adapter: Adapter of the model.
        pool: The n crystals of the pool with their embedding (n, dim) and descriptors (n, k).
        seed: Seed of all random choices.
        rounds: Number of rounds, by default what :data:`BUDGETS` says; every one costs the same, and the first brings
            most.
        checkpoint: File to which the search is saved after every step, and from which it goes on.
        settings: Elements that no crystal may hold, and the largest number of atoms; larger parents are left alone.

    Raises:
        GenerationError: The pool has large crystals only.
    """

    def __init__(
        self,
        adapter: Adapter,
        pool: Pool,
        seed: int,
        rounds: int | None = None,
        checkpoint: Path | None = None,
        settings: SearchConfig | None = None,
    ) -> None:
        self.adapter, self.pool, self.seed = adapter, pool, seed
        self.settings = settings or SearchConfig()
        budget = BUDGETS[adapter.search_by_gradient]
        self.budget, self.checkpoint = budget if rounds is None else budget._replace(rounds=rounds), checkpoint
        self.scaling = Scaling.of(pool.Z)
        self.X = self.scaling(pool.Z)
        most, excluded = self.settings.max_atoms, self.settings.exclude_elements
        self.filters = Filters(adapter, pool.structures, max_atoms=most, excluded=excluded, others=pool.others)
        self.refused: Counter[str] = Counter()
        self.parents = np.flatnonzero(pool.n_atoms <= most)
        if len(self.parents) == 0:
            raise GenerationError(f"no crystal of the pool has at most {counted(most, 'atom')}; add smaller ones.")
        self.prior = CompositionPrior(pool, self.X, pool.elements)
        self._like = Substitute(pool.elements, volumes=self.prior.volumes)

    def decode(self, targets: np.ndarray, n: int) -> list[list[Candidate]]:
        """Find new candidates for every target, nearest first.

        Args:
            targets: Latent targets (m, dim).
            n: Number of crystals wanted in all.

        Raises:
            InputError: The checkpoint is of another search.
        """
        with one_blas_thread():
            return self._decode(targets, n)

    def _decode(self, targets: np.ndarray, n: int) -> list[list[Candidate]]:
        T = self.scaling(targets)
        each = -(-n // len(T))
        prototypes = [self._likely_prototypes(t) for t in T]
        searches = [Search(self._nearest(t, PARENTS * each), set()) for t in T]
        state = SearchState(searches, self.prior, self.refused)
        limits = (self.settings.max_atoms, self.settings.exclude_elements)
        key = hash_parts(hash_model(self.adapter.model), self.X, T, (self.seed, n, *self.budget, *limits))
        checkpoint = Checkpoint(self.checkpoint, key, "the search")
        state.restore(checkpoint.load())
        makers: list[Callable[..., list[list[Candidate]]]] = [partial(self._drafted, self.budget.candidates * each)]
        if self.budget.starts and self.adapter.element_tables:
            makers.insert(0, self._transmuted)
        for step in track(range(state.steps, len(makers) * self.budget.rounds), "searching crystals"):
            turn, kind = divmod(step, len(makers))
            self._keep(searches, self._embedded(makers[kind](searches, T, prototypes, turn), T), each)
            state.steps = step + 1
            if self.checkpoint:
                checkpoint.save(state.saved())
        new = [[c for c in s.found if c.moves] for s in searches]
        return self._refined(new, T, targets, self.budget.refined * each)

    def _keep(self, searches: list[Search], new: list[list[Candidate]], each: int) -> None:
        """Learn from new candidates, and keep the nearest."""
        self.prior.learn([c for group in new for c in group])
        for search, more in zip(searches, new, strict=True):
            search.found = survivors(search.found + more, SURVIVORS * each)

    def _transmuted(
        self, searches: list[Search], T: np.ndarray, prototypes: list[np.ndarray], turn: int
    ) -> list[list[Candidate]]:
        """Crystals whose elements came by gradient, as the filters accept them."""
        out: list[list[Candidate]] = [[] for _ in T]
        count, starts = self.budget.starts, []
        for t, (search, point) in enumerate(zip(searches, T, strict=True)):
            likely = self.prior.predict(point).likely()
            rows = prototypes[t][turn * count : (turn + 1) * count].tolist()
            bases = [(c.structure, c.parent) for c in search.found[:count]] + [
                (self.pool.structures[i], i) for i in rows
            ]
            starts += [start(self.adapter, structure, row, t, likely) for structure, row in bases]
        for k, mixture in enumerate(transmute(self.adapter, starts, T, self.scaling)):
            rng = np.random.default_rng((self.seed, turn, mixture.target, k))
            for crystal, record in mixture.crystals(self.adapter.element_types, DRAWS, rng):
                searches[mixture.target].tried.add((mixture.parent, crystal.formula))
                if self._accepted(crystal):
                    base = self._start_from(mixture.parent)
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

    def _start_from(self, row: int) -> Candidate:
        """A pool crystal to start from."""
        return Candidate(self.pool.structures[row], row, "", np.inf, self.X[row])

    def _likely_prototypes(self, point: np.ndarray) -> np.ndarray:
        """Rows of pool crystals whose structure is likely at a scaled target."""
        return self.parents[np.argsort(self.prior.structural_distance(point)[self.parents], kind="stable")[:PROTOTYPES]]

    def _drafts(
        self, search: Search, point: np.ndarray, prototypes: np.ndarray, key: tuple[int, int], count: int
    ) -> list[Candidate]:
        """Altered crystals of the best so far that the filters accept, which have to be embedded yet."""
        rng = np.random.default_rng((self.seed, *key))
        late = key[1] / max(self.budget.rounds - 1, 1)
        chemical = CHEMICAL[0] + (CHEMICAL[1] - CHEMICAL[0]) * late
        size = COOLED**late
        geometry: Move = Chain((Strain(0.03 * size), Rattle(0.01 * size, 0.1 * size)))
        prediction = self.prior.predict(point)
        rank = np.exp(-np.arange(len(search.found)) / max(len(search.found) / 3, 1))
        drafts: list[Candidate] = []
        for i in rng.choice(len(search.found), TRIES * count, p=rank / rank.sum()).tolist():
            if len(drafts) == count:
                break
            base, move = search.found[i], geometry
            if other := rng.random() < chemical:
                base, move = self._chemical(base, prediction, prototypes, rng)
            made = move(base.structure, rng)
            if made is None or (other and (base.parent, made[0].formula) in search.tried):
                continue
            if other:
                search.tried.add((base.parent, made[0].formula))
            if self._accepted(made[0]):
                drafts.append(base.altered(*made))
        return drafts

    def _chemical(
        self, base: Candidate, prediction: Prediction, prototypes: np.ndarray, rng: np.random.Generator
    ) -> tuple[Candidate, Move]:
        """What to alter, and a move that brings other elements."""
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "prototype":
            row = int(rng.choice(prototypes))
            symbols = tuple(sorted({e.symbol for e in base.structure.elements}))
            return self._start_from(row), DecorateLikely(prediction, symbols)
        moves: dict[str, Move] = {
            "like": self._like,
            "replace": ReplaceLikely(prediction),
            "decorate": DecorateLikely(prediction),
            "mix": MixLikely(prediction, self.settings.max_atoms),
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
        X = self.scaling(Z)
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
        trails = refine(self.adapter, [c.structure for _, c in chosen], goals, self.scaling)
        drafts: list[list[Candidate]] = [[] for _ in T]
        for (t, c), trail in zip(chosen, trails, strict=True):
            drafts[t] += [c.altered(s, "refined") for s in trail if self._accepted(s)]
        both = zip(new, self._embedded(drafts, T), strict=True)
        return [sorted(found + more, key=lambda c: c.distance) for found, more in both]
