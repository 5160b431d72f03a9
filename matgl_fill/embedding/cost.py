"""How long search and training will take, told before they start."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.config.config import FillConfig
from matgl_fill.training import Objective

SAMPLE = 32
"""Crystals that are embedded to learn the speed."""
SEARCH_COST = {True: 400, False: 150}
"""Searching one crystal costs about as much as embedding this many, with gradients and without."""
BACKWARD_COST = 3.0
"""A training pass costs about this many embedding passes."""
GEOMETRY_COST = 3
"""Training on forces and stress costs about this many times as much."""


def embedding_seconds(adapter: Adapter, structures: Sequence[Structure]) -> float:
    """Seconds that one crystal takes, graph included, from embedding some of the given ones."""
    rows = np.linspace(0, len(structures) - 1, min(SAMPLE, len(structures))).astype(int)
    some = [structures[i] for i in rows]
    adapter.embed_graphs(adapter.graphs(some))
    start = time.perf_counter()
    adapter.embed_graphs(adapter.graphs(some))
    return (time.perf_counter() - start) / len(some)


def search_seconds(adapter: Adapter, seconds: float, n: int) -> float:
    """Seconds of a search for n crystals, where one takes ``seconds`` to embed."""
    return seconds * SEARCH_COST[adapter.search_by_gradient] * n


def training_seconds(
    seconds_per_edge: float, objectives: Sequence[Objective], replayed: Sequence[Graph], config: FillConfig
) -> float:
    """Seconds of training.

    Args:
        seconds_per_edge: that embedding takes.
        objectives: terms of the loss.
        replayed: graphs, as large as those that are learnt from.
        config: resolved.
    """
    mean_edges = sum(g.n_edges for g in replayed) / len(replayed)
    passes = sum(GEOMETRY_COST if o.needs_geometry else 1 for o in objectives)
    edges = mean_edges * (config.batch_size * passes + (config.replay_batch or 0))
    return BACKWARD_COST * seconds_per_edge * edges * config.steps
