"""MatGL datasets and loaders for generated and replayed crystals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from matgl_fill.adapters import Adapter, Batch, Graph


class CrystalDataset(MGLDataset):
    """MatGL's in-memory dataset on graphs that were built already; the only label is the row number."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self._built = list(graphs)
        super().__init__(labels={"row": list(range(len(graphs)))}, save_cache=False)

    def process(self) -> None:
        """Take over the graphs; nothing is converted or written."""
        self.graphs = [g.data for g in self._built]
        self.lattices = [g.lattice for g in self._built]
        self.state_attr = torch.stack([g.state for g in self._built])

    def _process(self) -> None:
        """Skip the folders and messages of the on-disk protocol."""
        self.process()

    def has_cache(self) -> bool:
        """Never read from disk."""
        return False


def batch_rows(n: int, size: int, steps: int, seed: int) -> Tensor:
    """Rows (steps, size) of n crystals that every step takes, from one shuffle after the other.

    A shuffle gives whole batches; what is left of it is dropped.

    Example:
        >>> whole = batch_rows(5, 2, 7, seed=0)
        >>> [len(set(epoch.flatten().tolist())) for epoch in whole.split(2)]
        [4, 4, 4, 2]
    """
    generator = torch.Generator().manual_seed(seed)
    batches = n // size
    epochs = [torch.randperm(n, generator=generator)[: batches * size] for _ in range(-(-steps // batches))]
    return torch.cat(epochs).reshape(-1, size)[:steps]


def loader(graphs: Sequence[Graph], batch_size: int, seed: int, steps: int, done: int = 0) -> DataLoader:
    """MatGL loader of ``graphs``, one batch a step from ``done`` to ``steps``; each is what ``collate_fn_graph`` gives.

    Every step's batch is known beforehand (:func:`batch_rows`), so that a training that goes on after ``done`` steps
    sees the same ones. MatGL's shuffling loader is therefore left aside, and the one that keeps an order is taken.
    """
    data = CrystalDataset(graphs)
    size = min(batch_size, len(graphs))
    rows = batch_rows(len(graphs), size, steps, seed)[done:]
    _, ordered = MGLDataLoader(
        data,
        Subset(data, rows.flatten().tolist()),
        collate_fn=collate_fn_graph,
        batch_size=size,
        num_workers=0,
        generator=torch.Generator(),  # otherwise every loader draws from the global one
    )
    return ordered


def unpack(collated: tuple[object, Tensor, Tensor, Tensor], adapter: Adapter) -> tuple[Batch, Tensor]:
    """Batch and row numbers (B,) from what a MatGL loader yields."""
    data, lattice, state, rows = collated
    batch = adapter.joined(data, lattice.reshape(-1, 3, 3), state)
    return batch, rows.long()
