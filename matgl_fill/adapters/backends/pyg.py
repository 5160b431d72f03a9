"""Graphs of MatGL on PyG (matgl 4): join, place and call."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch as GraphBatch

from matgl_fill.utils.modes import single_precision

NAME = "PYG"


def edges(data: Any) -> tuple[Tensor, Tensor]:
    """Source atoms (E,) and target atoms (E,) of the edges."""
    return data.edge_index[0].long(), data.edge_index[1].long()


def n_nodes(data: Any) -> int:
    """Number of atoms of a graph."""
    return int(data.num_nodes)


def join(graphs: Sequence[Any]) -> Any:
    """Join several graphs to one."""
    return GraphBatch.from_data_list(list(graphs))


def node_batch(data: Any) -> Tensor:
    """Index of the crystal (N,) of each atom."""
    return data.batch


def offsets(data: Any) -> tuple[Tensor, Tensor]:
    """Fractional coordinates (N, 3) of the atoms and lattice offsets (E, 3) of the edges."""
    return data.frac_coords, data.pbc_offset


def placed(data: Any, positions: Tensor, shifts: Tensor) -> Any:
    """Copy a graph with Cartesian positions (N, 3) and edge shifts (E, 3) in Angstrom."""
    graph = copy.copy(data)
    graph.pos, graph.pbc_offshift = positions, shifts
    return graph


def readout(core: Any, embedding: Tensor, n_atoms: Tensor) -> Tensor:  # noqa: ARG001
    """Input of the output network from the structure embedding (B, k): the embedding itself."""
    return embedding


def call(core: Any, graph: Any, state: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Call a core model: its output (B,) and its ``feature_dict``, of which the model keeps nothing."""
    with listening(core) as (own, features), single_precision(core):
        raw = own(g=graph, state_attr=state)
    return torch.as_tensor(raw).reshape(-1), features


@contextmanager
def listening(core: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give a twin of a core model, and after the block the features of its one call inside the block.

    Twin and model share weights, layers and hooks. A call leaves ``feature_dict`` on the twin alone, so that threads
    that call one model do not see each other's. What a call of MatGL's own has left on the model is dropped: it holds
    an autograd graph, with which the model cannot be copied.
    """
    own, features = copy.copy(core), dict[str, Any]()
    yield own, features
    features |= own.feature_dict
    core.feature_dict = {}
