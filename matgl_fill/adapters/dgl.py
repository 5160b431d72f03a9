"""Graphs of MatGL on DGL (matgl 2.2.1): join, place and call, as :mod:`matgl_fill.adapters.pyg`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dgl
import torch
from matgl.layers._readout_dgl import WeightedAtomReadOut
from matgl.models import M3GNet
from torch import Tensor

NAME = "DGL"
BLOCK = ("edge_feat", "node_feat", "state_feat")
"""What a block of MEGNet gives, by the names of matgl 4."""


def edges(data: Any) -> tuple[Tensor, Tensor]:
    """(E,) source and (E,) target atoms."""
    source, target = data.edges()
    return source.long(), target.long()


def n_nodes(data: Any) -> int:
    """Atoms of a graph."""
    return int(data.num_nodes())


def join(graphs: Sequence[Any]) -> Any:
    """One graph of several."""
    return dgl.batch(list(graphs))


def node_batch(data: Any) -> Tensor:
    """(N,) crystal of each atom."""
    counts = data.batch_num_nodes()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def offsets(data: Any) -> tuple[Tensor, Tensor]:
    """(N, 3) fractional coordinates and (E, 3) lattice offsets of the edges."""
    return data.ndata["frac_coords"], data.edata["pbc_offset"]


def placed(data: Any, positions: Tensor, shifts: Tensor) -> Any:
    """A copy of the graph with Cartesian positions (N, 3) and edge shifts (E, 3) in Angstrom."""
    graph = data.local_var()
    graph.ndata["pos"], graph.edata["pbc_offshift"] = positions, shifts
    return graph


def readout(core: Any, embedding: Tensor, n_atoms: Tensor) -> Tensor:
    """What the output network takes, from the structure embedding (B, k): atoms are weighted and summed here."""
    return embedding * n_atoms.unsqueeze(1) if isinstance(core.readout, WeightedAtomReadOut) else embedding


def call(core: Any, graph: Any, state: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Output (B,) of a core model, and features under the names that they have in matgl 4's ``feature_dict``.

    M3GNet, CHGNet and TensorNet return their layers when asked; MEGNet and SO3Net are listened to for this one call.
    M3GNet is called crystal by crystal: the three-body indices of matgl 2.2.1 count pruned bonds over the whole batch,
    so that a crystal's prediction depends on those before it (measured: 1e-4 relative), and only the single call is
    what the published checkpoints were validated with.
    """
    if isinstance(core, M3GNet) and graph.batch_size > 1:
        singles = dgl.unbatch(graph)
        outputs = [call(core, single, state[i : i + 1]) for i, single in enumerate(singles)]
        graph.edata["bond_dist"] = torch.cat([single.edata["bond_dist"] for single in singles])
        return torch.cat([raw for raw, _ in outputs]), _merged([features for _, features in outputs])
    with listening(core) as features:
        raw = core(g=graph, state_attr=state)
    features |= {k: graph.ndata[k] for k in ("scalar_representation",) if k in graph.ndata}
    if isinstance(getattr(core, "readout", None), WeightedAtomReadOut):  # a sum here, an average in matgl 4
        features["readout"] = features["readout"] / graph.batch_num_nodes().unsqueeze(1)
    return raw.reshape(-1), features


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One nested dictionary of concatenated tensors from one per crystal; what is None stays out."""
    first = parts[0]
    return {
        key: _merged([p[key] for p in parts]) if isinstance(value, dict) else torch.cat([p[key] for p in parts])
        for key, value in first.items()
        if isinstance(value, dict) or (isinstance(value, Tensor) and value.dim() > 0)
    }


@contextmanager
def listening(core: Any) -> Iterator[dict[str, Any]]:
    """Features of the one call that is made of a core model in the block."""
    if "return_all_layer_output" not in inspect.signature(core.forward).parameters:
        with _hooked(core) as features:
            yield features
        return
    found: dict[str, Any] = {}
    forward = core.forward

    def told(**given: Any) -> Tensor:
        found.update(forward(**given, return_all_layer_output=True))
        return found["final"]

    core.forward = told
    try:
        yield found
    finally:
        del core.forward


@contextmanager
def _hooked(core: Any) -> Iterator[dict[str, Any]]:
    """Record the input of the output network and the features after every block; no hook stays."""
    features: dict[str, Any] = {}
    output = getattr(core, "output_proj", None) or core.final_layer

    def readout(_: Any, inputs: tuple[Any, ...]) -> None:
        features["readout"] = inputs[0]

    def block(module: Any, _: Any, out: tuple[Any, ...]) -> None:
        features[f"gc_{list(core.blocks).index(module) + 1}"] = dict(zip(BLOCK, out, strict=False))

    hooks = [output.register_forward_pre_hook(readout)]
    hooks += [b.register_forward_hook(block) for b in getattr(core, "blocks", ())]
    try:
        yield features
    finally:
        for hook in hooks:
            hook.remove()
