"""How long embedding and searching will take, estimated before they start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.structures import read_each
from matgl_fill.structures.streams import sections

SAMPLE = 32
"""Number of crystals that are embedded to measure the speed."""
GLANCE = 2048
"""Number of rows of a large file of which the first :data:`SAMPLE` crystals are tried."""
DESCRIBED = 73 * 4
"""Bytes of a crystal's descriptors in a shard."""
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


@dataclass(frozen=True)
class ShardsCost:
    """Cost of embedding a file of any size.

    Attributes:
        rows: Number of its rows, about.
        seconds: Time of one crystal on one core, or on the accelerator.
        bytes: Size of the shards of all.
    """

    rows: int
    seconds: float
    bytes: float

    def __str__(self) -> str:
        """In words."""
        hours = self.rows * self.seconds / 3600
        return f"about {self.rows:,} crystals, {hours:.2g} core hours and {self.bytes / 1e9:.2g} GB"


def shards_cost(adapter: Adapter, source: str | Path) -> ShardsCost:
    """What it costs to embed a file of any size, from its first crystals.

    Args:
        adapter: Adapter of the model.
        source: JSON lines or Parquet.

    Raises:
        InputError: There is no such file, it is of another kind, or none of the first crystals can be used.
    """
    first = next(sections(source, GLANCE))
    items = [item for _, item in first.items()[: 4 * SAMPLE]]
    found = [one for one in read_each(items) if isinstance(one, Structure) and not adapter.unsupported_reason(one)]
    if not found:
        raise InputError(
            f"{adapter.name} can take none of the first {len(items)} rows of {source}; give crystals of its elements."
        )
    seconds = embedding_seconds(adapter, found[:SAMPLE])
    each = 4 * adapter.dim + DESCRIBED + 25 * float(np.mean([len(s) for s in found])) + 100
    rows = round(first.count / first.share)
    return ShardsCost(rows, seconds, rows * each)
