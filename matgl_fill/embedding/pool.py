"""The crystals a user knows, with everything that is computed once per crystal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, StructureSet, describe_structures, read_structures

MIN_POOL = 20
"""Fewer usable crystals than this say too little about a latent space."""


@dataclass
class Pool:
    """Usable crystals with everything that is computed once per crystal."""

    structures: list[Any]
    ids: list[str]
    graphs: list[Graph]
    Z: np.ndarray
    y: np.ndarray
    D: np.ndarray
    skipped: list[Skipped]
    seconds_per_edge: float

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.structures)

    @cached_property
    def n_atoms(self) -> np.ndarray:
        """(n,) atoms of each crystal."""
        return np.array([len(s) for s in self.structures])

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of all elements that occur, sorted."""
        return tuple(sorted({e.symbol for s in self.structures for e in s.elements}))

    def subset(self, rows: Sequence[int] | np.ndarray) -> Pool:
        """Some of the crystals, in the order of ``rows``; ``skipped`` still tells what the whole reading left out."""
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


def graph_or_problem(adapter: Adapter, structure: Structure) -> Graph | str:
    """The graph of a crystal, or why the model cannot take it: an element, or an atom without any neighbour."""
    if reason := adapter.unsupported_reason(structure):
        return reason
    graph = adapter.graph(structure)
    if alone := graph.isolated_atoms():
        symbol = structure[alone[0]].specie.symbol
        return f"atom {alone[0]} ({symbol}) has no neighbour within {adapter.cutoff:g} A"
    return graph


def usable_graphs(
    adapter: Adapter, ids: Sequence[str], structures: Sequence[Structure]
) -> tuple[list[int], list[Graph], list[Skipped]]:
    """Rows of the crystals that the model can take, their graphs, and the others with the reason."""
    keep: list[int] = []
    graphs: list[Graph] = []
    skipped: list[Skipped] = []
    for i, (name, structure) in enumerate(zip(ids, structures, strict=True)):
        found = graph_or_problem(adapter, structure)
        if isinstance(found, str):
            skipped.append(Skipped(name, found))
        else:
            keep.append(i)
            graphs.append(found)
    return keep, graphs, skipped


def prepare_pool(adapter: Adapter, source: Any) -> Pool:
    """Read crystals, drop those the model cannot take (with the reason), embed and describe the rest.

    Raises:
        InputError: fewer than ``MIN_POOL`` usable crystals.
    """
    data = read_structures(source)
    keep, graphs, refused = usable_graphs(adapter, data.ids, data.structures)
    skipped = [*data.skipped, *refused]
    if len(keep) < MIN_POOL:
        first = "; ".join(f"{s.where}: {s.reason}" for s in skipped[:3])
        raise InputError(
            f"{len(keep)} usable crystals, at least {MIN_POOL} are needed; give more structures."
            + (f" Skipped: {first}" if first else "")
        )
    start = time.perf_counter()
    Z, y = adapter.embed_graphs(graphs)
    seconds = (time.perf_counter() - start) / max(sum(g.n_edges for g in graphs), 1)
    kept: StructureSet = data.subset(keep)
    return Pool(kept.structures, kept.ids, graphs, Z, y, describe_structures(kept.structures), skipped, seconds)
