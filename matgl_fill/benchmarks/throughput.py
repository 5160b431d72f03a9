"""How fast crystals are embedded, against MatGL's own two ways."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import core_of, get_adapter
from matgl_fill.embedding import embed

ONE_BY_ONE = 200
"""Crystals that are timed one at a time; the rate is what counts."""
BATCH = 64


@dataclass(frozen=True)
class Rate:
    """Crystals per second of one way, graph building included."""

    way: str
    crystals: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Crystals per second."""
        return self.crystals / self.seconds


def throughput(model: nn.Module, crystals: Sequence[Structure]) -> list[Rate]:
    """Rates of :func:`matgl_fill.embed`, of a plain MatGL loader loop, and of ``predict_structure`` one at a time.

    Args:
        model: property model or potential.
        crystals: all of which the model can take.
    """
    ways: list[tuple[str, Any, Sequence[Structure]]] = [
        ("matgl_fill.embed", partial(embed, model), crystals),
        (f"MatGL loader, batch {BATCH}", partial(_loader_loop, model), crystals),
        ("predict_structure, one at a time", partial(_one_by_one, model), crystals[:ONE_BY_ONE]),
    ]
    embed(model, list(crystals[:BATCH]))  # warm up
    rates = []
    for way, run, some in ways:
        start = time.perf_counter()
        run(list(some))
        rates.append(Rate(way, len(some), time.perf_counter() - start))
    return rates


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _loader_loop(model: nn.Module, crystals: list[Structure]) -> None:
    """What MatGL's documentation does: dataset, loader, forward pass."""
    core = core_of(model)
    converter = Structure2Graph(element_types=core.element_types, cutoff=core.cutoff)
    labels = {"y": [0.0] * len(crystals)}
    with tempfile.TemporaryDirectory() as root:  # the dataset writes files of its own even without a cache
        data = MGLDataset(structures=crystals, converter=converter, labels=labels, save_cache=False, root=root)
    loader, _ = MGLDataLoader(data, data, collate_fn=collate_fn_graph, batch_size=BATCH, num_workers=0)
    joined = get_adapter(model)
    with torch.no_grad():
        for graph, lattice, state, _ in loader:
            batch = joined.joined(graph, lattice.reshape(-1, 3, 3), state)
            joined.forward(batch)


def _one_by_one(model: nn.Module, crystals: list[Structure]) -> None:
    predict: Any = core_of(model).predict_structure
    for crystal in crystals:
        predict(crystal)
