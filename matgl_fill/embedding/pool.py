"""The user's crystals, with everything that is computed once per crystal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.embedding.usable import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, describe_structures, elements_of, read_structures
from matgl_fill.utils.counting import counted

MIN_POOL = 20
"""Fewer usable crystals than this say too little about a latent space."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Usable crystals with everything that is computed once per crystal.

    Attributes:
        structures: The n crystals.
        ids: The n unique names of the crystals.
        graphs: The n graphs of the crystals as the model takes them.
        Z: Embedding of the crystals, (n, dim), float32.
        y: Predictions (n,) of the model, in its own unit; of the whole cell for potentials.
        D: Descriptors (n, k), see :func:`matgl_fill.describe`.
        skipped: Crystals that were left out while reading or refused by the model, each with the reason.
        seconds_per_edge: Time in seconds that embedding took per edge.
        others: Function of a reduced formula to the crystals of it that are known besides, where the pool is a part of
            a larger one; None where it is all.
    """

    structures: list[Structure]
    ids: list[str]
    graphs: list[Graph]
    Z: np.ndarray
    y: np.ndarray
    D: np.ndarray
    skipped: list[Skipped]
    seconds_per_edge: float
    others: Callable[[str], Sequence[Structure]] | None = None

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.structures)

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """Number of atoms (n,) of each crystal."""
        return np.array([len(s) for s in self.structures])

    @cached_property
    def n_edges(self) -> np.ndarray:
        """Number of directed edges (n,) of each graph."""
        return np.array([g.n_edges for g in self.graphs])

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Symbols of all elements that occur, sorted."""
        return elements_of(self.structures)

    def subset(self, rows: Sequence[int] | np.ndarray) -> Pool:
        """Select crystals by index, in that order; ``skipped`` stays."""
        index = np.asarray(rows, dtype=int)
        return replace(
            self,
            structures=[self.structures[i] for i in index],
            ids=[self.ids[i] for i in index],
            graphs=[self.graphs[i] for i in index],
            Z=self.Z[index],
            y=self.y[index],
            D=self.D[index],
        )

    def joined(self, other: Pool) -> Pool:
        """This pool followed by another of the same model; ``skipped`` and the times stay this one's."""
        return replace(
            self,
            structures=[*self.structures, *other.structures],
            ids=[*self.ids, *other.ids],
            graphs=[*self.graphs, *other.graphs],
            Z=np.vstack([self.Z, other.Z]),
            y=np.concatenate([self.y, other.y]),
            D=np.vstack([self.D, other.D]),
        )


def prepare_pool(adapter: Adapter, source: Any, least: int = MIN_POOL) -> Pool:
    """Read crystals, drop those the model cannot take (with the reason), embed and describe the rest.

    Args:
        adapter: Adapter of the model.
        source: Anything :func:`matgl_fill.read_structures` takes.
        least: Least number of usable crystals.

    Raises:
        InputError: There are fewer usable crystals than that.
    """
    data = read_structures(source)
    usable = usable_crystals(adapter, data.ids, data.structures, graphs=True)
    skipped = [*data.skipped, *usable.skipped]
    if len(usable.rows) < least:
        first = "; ".join(f"{s.where}: {s.reason}" for s in skipped[:3])
        raise InputError(
            f"{counted(len(usable.rows), 'usable crystal')}, at least {least} are needed; give more structures."
            + (f" Skipped: {first}" if first else "")
        )
    start = time.perf_counter()
    Z, y = adapter.embed_graphs(usable.graphs)
    seconds = (time.perf_counter() - start) / max(sum(g.n_edges for g in usable.graphs), 1)
    kept = data.subset(usable.rows)
    D = describe_structures(kept.structures)
    return Pool(kept.structures, kept.ids, usable.graphs, Z, y, D, skipped, seconds)
