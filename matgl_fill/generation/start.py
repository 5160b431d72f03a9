"""What a search starts from: a pool in memory, or the part of a pool of any size that lies around its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import SearchConfig
from matgl_fill.embedding import Pool, prepare_pool
from matgl_fill.embedding.pool import MIN_POOL
from matgl_fill.embedding.shards import ShardFolder
from matgl_fill.errors import InputError
from matgl_fill.generation.targets import Targets, choose_targets
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.structures import StructureSet
from matgl_fill.utils.counting import counted
from matgl_fill.utils.scaling import Scaling

NEAREST = 300
"""Number of a large pool's crystals next to each target that a search knows: as many as its regression takes."""
AROUND = 20_000
"""Largest number of these for all targets."""
DRAWN = 2_000
"""Number of other crystals of a large pool that a search knows, drawn at random: prototypes, volumes and the bounds of
what is usual come from all."""
TOGETHER = 64
"""Number of targets whose distances to all crystals are held in memory (256 MB for a million)."""
BLOCK = 2**22
"""Number of coordinates held in memory while the nearest are looked for (32 MB)."""


@dataclass(frozen=True)
class SearchStart:
    """Start of a search.

    Attributes:
        pool: Crystals that the search knows.
        roughness: Roughness of the embedding of all crystals; None if they are too few to have one.
        Z: Embedding (m, dim) of all crystals, among which targets are chosen; it is that of the pool unless the pool
            is a part of a folder of shards.
    """

    pool: Pool
    roughness: RoughnessResult | None
    Z: np.ndarray

    @classmethod
    def of(cls, pool: Pool, roughness: RoughnessResult | None) -> SearchStart:
        """Start from a pool in memory."""
        return cls(pool, roughness, pool.Z)

    def targets(self, n: int, settings: SearchConfig, seed: int) -> Targets:
        """Choose the latent points to fill, n at most; none where there is no roughness."""
        if self.roughness is None:
            return Targets(np.empty((0, self.Z.shape[1])), np.empty(0))
        return choose_targets(self.Z, self.roughness, n, settings.choice, seed)


def pool_roughness(pool: Pool, settings: SearchConfig) -> RoughnessResult | None:
    """Roughness of a pool's embedding; None if the pool is too small to have one."""
    return graph_roughness(pool.Z, pool.D, settings.neighbours) if len(pool) >= MIN_POOL else None


def least_pool(adapter: Adapter) -> int:
    """Least number of usable crystals from which something can be proposed: a potential's configurations need one."""
    return 1 if adapter.is_potential else MIN_POOL


def search_start(
    adapter: Adapter, source: Any, settings: SearchConfig, n: int, seed: int, roughness: RoughnessResult | None = None
) -> SearchStart:
    """Prepare a search.

    Of a folder of shards the roughness and the targets are those of all its crystals. The search itself knows the
    :data:`NEAREST` crystals around each target and :data:`DRAWN` others, which are read by row; that a proposal is new
    is asked of all crystals of its formula.

    Args:
        adapter: Adapter of the model.
        source: Anything :func:`matgl_fill.read_structures` takes, or the folder of shards of this model.
        settings: Settings of the search.
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        roughness: Roughness of the embedding of all crystals; analysed here if not given.

    Raises:
        InputError: There are too few usable crystals, the roughness is of another embedding, or the folder is of
            another model or reading.
    """
    if isinstance(source, ShardFolder) or ShardFolder.is_one(source):
        folder = source if isinstance(source, ShardFolder) else ShardFolder(source)
        folder.check_model(adapter.model, adapter.fidelity)
        return _from_shards(adapter, folder, settings, n, seed, roughness)
    pool = prepare_pool(adapter, source, least_pool(adapter))
    if roughness is None:
        return SearchStart.of(pool, pool_roughness(pool, settings))
    roughness.check_width(pool.Z.shape[1])
    return SearchStart.of(pool, roughness)


def _from_shards(
    adapter: Adapter,
    folder: ShardFolder,
    settings: SearchConfig,
    n: int,
    seed: int,
    roughness: RoughnessResult | None,
) -> SearchStart:
    """Start from a part of a folder of shards; see :func:`search_start`."""
    if (folder.manifest.pooling, folder.manifest.layers) != ("model", "last"):
        raise InputError(
            f"'{folder.path}' was embedded with pooling or layers that no search can use; embed it again without them."
        )
    if len(folder) < MIN_POOL:
        raise InputError(
            f"{counted(len(folder), 'usable crystal')} in '{folder.path}', at least {MIN_POOL} are needed."
        )
    Z = folder.embedding
    if roughness is None:
        roughness = graph_roughness(Z, folder.descriptors, settings.neighbours)
    roughness.check_width(Z.shape[1])
    rows = rows_around(Z, choose_targets(Z, roughness, n, settings.choice, seed).points, seed)
    crystals = StructureSet(folder.structures(rows), [folder.ids[i] for i in rows], {}, folder.skipped)
    formulas, others = np.array(folder.formulas), np.ones(len(folder), dtype=bool)
    others[rows] = False

    def of_formula(formula: str) -> Sequence[Structure]:
        return folder.structures(np.flatnonzero((formulas == formula) & others))

    pool = prepare_pool(adapter, crystals, least_pool(adapter))
    return SearchStart(replace(pool, others=of_formula), roughness, Z)


def rows_around(Z: np.ndarray, targets: np.ndarray, seed: int) -> np.ndarray:
    """Rows, rising, of the crystals nearest to targets and of some others.

    Args:
        Z: Embedding (m, dim) of all crystals.
        targets: Latent points (t, dim).
        seed: Seed of the others.
    """
    scaling, some = Scaling.of(Z.astype(float)), [np.random.default_rng(seed).permutation(len(Z))[:DRAWN]]
    each = min(NEAREST, AROUND // max(len(targets), 1), len(Z))
    size = max(1, BLOCK // Z.shape[1])
    for T in np.array_split(scaling(targets), -(-len(targets) // TOGETHER) or 1):
        square = np.empty((len(T), len(Z)), dtype=np.float32)
        for first in range(0, len(Z), size):
            X = scaling(Z[first : first + size])
            square[:, first : first + size] = (X**2).sum(axis=1) - 2 * T @ X.T  # but for what all crystals share
        some.append(np.argpartition(square, each - 1, axis=1)[:, :each].ravel())
    return np.unique(np.concatenate(some))
