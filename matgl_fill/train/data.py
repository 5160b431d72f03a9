"""MatGL datasets and loaders for generated and replayed crystals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from torch import Tensor
from torch.utils.data import DataLoader

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


def loader(graphs: Sequence[Graph], batch_size: int, seed: int) -> DataLoader:
    """Shuffling MatGL loader of ``graphs``; every batch is what ``collate_fn_graph`` gives."""
    data = CrystalDataset(graphs)
    train, _ = MGLDataLoader(
        data,
        data,
        collate_fn=collate_fn_graph,
        batch_size=min(batch_size, len(graphs)),
        num_workers=0,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
    )
    return train


def unpack(collated: tuple[object, Tensor, Tensor, Tensor], adapter: Adapter) -> tuple[Batch, Tensor]:
    """Batch and row numbers (B,) from what a MatGL loader yields."""
    data, lattice, state, rows = collated
    batch = adapter.joined(data, lattice.reshape(-1, 3, 3), state)
    return batch, rows.long()
