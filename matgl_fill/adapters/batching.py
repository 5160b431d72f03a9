"""How many edges a batch may have, from what the model makes of one edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from pymatgen.core import Lattice, Structure
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from matgl_fill.adapters.base import Adapter

CACHE = 4 * 2**20
"""Bytes the largest tensor of a batch may have on a CPU; larger ones are fetched from memory again and again."""
ACCELERATOR = 256 * 2**20
"""The same on an accelerator, where large batches pay."""


class _Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operator made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [t.untyped_storage().nbytes() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.bytes = max(self.bytes, *made, 0)
        return out


def packed(order: Iterable[int], size: Callable[[int], float], limit: float, most: float) -> list[list[int]]:
    """Indices in order, in groups of at most ``most`` whose sizes stay within ``limit``; a larger one goes alone."""
    groups: list[list[int]] = []
    held = 0.0
    for i in order:
        held += size(i)
        if not groups or held > limit or len(groups[-1]) >= most:
            groups.append([])
            held = size(i)
        groups[-1].append(i)
    return groups


def edges_per_batch(adapter: Adapter) -> int:
    """Edges at which the largest tensor of a forward pass fills the budget of the model's device.

    One pass over a 27-atom crystal of the model's first element is watched, not timed: the answer, and with it the
    composition of every batch, is the same on every run.
    """
    spacing = adapter.cutoff * 0.6
    probe = Structure(Lattice.cubic(spacing), [adapter.element_types[0]], [[0, 0, 0]]) * (3, 3, 3)
    graph = adapter.graph(probe)
    batch = adapter.collate([graph])
    with torch.no_grad(), _Largest() as largest:
        adapter.forward(batch)
    budget = CACHE if adapter.device.type == "cpu" else ACCELERATOR
    return max(1, budget * graph.n_edges // largest.bytes)
