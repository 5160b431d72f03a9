"""MatGL datasets and loaders for generated and replayed crystals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import lightning as pl
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader
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
        """Take over the graphs, without any conversion or files."""
        self.graphs = [g.data for g in self._built]
        self.lattices = [g.lattice for g in self._built]
        self.state_attr = torch.stack([g.state for g in self._built])

    def _process(self) -> None:
        """Skip the folders and messages of the on-disk protocol."""
        self.process()

    def has_cache(self) -> bool:
        """Always False: nothing is read from disk."""
        return False


def batch_rows(n: int, size: int, steps: int, seed: int) -> Tensor:
    """Rows (steps, size) of n crystals that every step takes, from one shuffle after the other.

    If n is smaller than ``size``, a step takes n crystals. A shuffle gives whole batches; the rest of it is dropped.

    Args:
        n: Number of crystals.
        size: Number of crystals per step.
        steps: Number of steps.
        seed: Seed of the shuffles.

    Example:
        >>> whole = batch_rows(5, 2, 7, seed=0)
        >>> [len(set(epoch.flatten().tolist())) for epoch in whole.split(2)]
        [4, 4, 4, 2]
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(size, n)
    batches = n // size
    epochs = [torch.randperm(n, generator=generator)[: batches * size] for _ in range(-(-steps // batches))]
    return torch.cat(epochs).reshape(-1, size)[:steps]


def loader(graphs: Sequence[Graph], rows: Tensor) -> DataLoader:
    """MatGL loader of graphs, which gives batch by batch those in ``rows``, collated by ``collate_fn_graph``.

    Every step's batch is known beforehand (:func:`batch_rows`), so that a training that goes on after some steps sees
    the same batches, and several processes share them. Therefore MatGL's loader that keeps an order is taken, not its
    shuffling one.

    Args:
        graphs: Graphs of the crystals.
        rows: Rows of the graphs that every step takes, (steps, size).
    """
    data = CrystalDataset(graphs)
    _, ordered = MGLDataLoader(
        data,
        Subset(data, rows.flatten().tolist()),
        collate_fn=collate_fn_graph,
        batch_size=rows.shape[1],
        num_workers=0,
        generator=torch.Generator(),  # otherwise every loader draws from the global one
    )
    return ordered


class InTurn:
    """One batch of each loader in turn; all loaders have the same number of batches.

    Example:
        >>> list(InTurn([["a", "b"], ["A", "B"]]))
        ['a', 'A', 'b', 'B']
    """

    def __init__(self, loaders: Sequence[DataLoader]) -> None:
        self._loaders = loaders

    def __len__(self) -> int:
        return sum(map(len, self._loaders))

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(zip(*self._loaders, strict=True))


class Crystals(pl.LightningDataModule):
    """The crystals of every term of the loss, in parts of every batch.

    Args:
        graphs: Graphs of each term.
        rows: Rows of each term's graphs that every step takes, all parts together, (steps, size).
        parts: Number of parts of every batch; their sizes differ by one crystal at most. One process takes them in
            turn, as many processes as parts take one each.

    Attributes:
        mean_sizes: Mean numbers of crystals and atoms of each term's parts, (steps, 2).
    """

    def __init__(self, graphs: Mapping[str, Sequence[Graph]], rows: Mapping[str, Tensor], parts: int) -> None:
        super().__init__()
        self._graphs = graphs
        self._rows = {name: r.tensor_split(parts, dim=1) for name, r in rows.items()}
        self.mean_sizes: dict[str, Tensor] = {}
        for name, r in rows.items():
            atoms = torch.tensor([g.n_atoms for g in graphs[name]], dtype=torch.float64)[r]
            self.mean_sizes[name] = torch.stack([torch.ones_like(atoms), atoms], dim=2).sum(dim=1) / parts

    def train_dataloader(self) -> CombinedLoader:
        """The loader of the parts that this process takes."""
        mine = slice(self.trainer.global_rank, None, self.trainer.world_size)
        parts = {name: [loader(self._graphs[name], r) for r in rows[mine]] for name, rows in self._rows.items()}
        return CombinedLoader({name: InTurn(each) for name, each in parts.items()}, "min_size")


def unpack(collated: tuple[object, Tensor, Tensor, Tensor], adapter: Adapter) -> tuple[Batch, Tensor]:
    """Batch on the model's device, and row numbers (B,) on the CPU, of what a MatGL loader yields."""
    data, lattice, state, rows = collated
    batch = adapter.joined(data, lattice.reshape(-1, 3, 3), state)
    return batch, rows.long().cpu()
