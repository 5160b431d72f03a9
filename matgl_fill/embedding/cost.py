"""How long embedding and searching will take, estimated before they start."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter

SAMPLE = 32
"""Number of crystals that are embedded to measure the speed."""
SEARCH_COST = {True: 400, False: 150}
"""Searching one crystal costs about as much as embedding this many, with gradients and without."""


def embedding_seconds(adapter: Adapter, structures: Sequence[Structure]) -> float:
    """Time in seconds to embed one crystal, graph included, measured on some of the given crystals."""
    rows = np.linspace(0, len(structures) - 1, min(SAMPLE, len(structures))).astype(int)
    some = [structures[i] for i in rows]
    adapter.embed_graphs(adapter.graphs(some))
    start = time.perf_counter()
    adapter.embed_graphs(adapter.graphs(some))
    return (time.perf_counter() - start) / len(some)


def search_seconds(adapter: Adapter, seconds: float, n: int) -> float:
    """Time in seconds of a search for n crystals, where embedding one takes ``seconds``."""
    return seconds * SEARCH_COST[adapter.search_by_gradient] * n
