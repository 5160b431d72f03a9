"""Graphs of MatGL on DGL (matgl 2.2.1): join, place and call, as in :mod:`matgl_fill.adapters.backends.pyg`."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import dgl
import torch
from matgl.graph._compute_dgl import create_line_graph
from matgl.layers._readout_dgl import WeightedAtomReadOut
from matgl.layers._three_body import ThreeBodyInteractions
from matgl.models import M3GNet
from matgl.utils.maths import get_segment_indices_from_n
from torch import Tensor, nn

from matgl_fill.adapters.wrappers import forwarding
from matgl_fill.utils.modes import single_precision

NAME = "DGL"
_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
"""One lock for each model."""
BLOCK = ("edge_feat", "node_feat", "state_feat")
"""Outputs of a block of MEGNet, by the names of matgl 4."""


def edges(data: Any) -> tuple[Tensor, Tensor]:
    """Source atoms (E,) and target atoms (E,) of the edges."""
    source, target = data.edges()
    return source.long(), target.long()


def n_nodes(data: Any) -> int:
    """Number of atoms of a graph."""
    return int(data.num_nodes())


def join(graphs: Sequence[Any]) -> Any:
    """Join several graphs to one."""
    return dgl.batch(list(graphs))


def node_batch(data: Any) -> Tensor:
    """Index of the crystal (N,) of each atom."""
    counts = data.batch_num_nodes()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def offsets(data: Any) -> tuple[Tensor, Tensor]:
    """Fractional coordinates (N, 3) of the atoms and lattice offsets (E, 3) of the edges."""
    return data.ndata["frac_coords"], data.edata["pbc_offset"]


def placed(data: Any, positions: Tensor, shifts: Tensor) -> Any:
    """Copy a graph with Cartesian positions (N, 3) and edge shifts (E, 3) in Angstrom."""
    graph = data.local_var()
    graph.ndata["pos"], graph.edata["pbc_offshift"] = positions, shifts
    return graph


def readout(core: Any, embedding: Tensor, n_atoms: Tensor) -> Tensor:
    """Input of the output network from the structure embedding (B, k): here atoms are weighted and summed."""
    return embedding * n_atoms.unsqueeze(1) if isinstance(core.readout, WeightedAtomReadOut) else embedding


def _lock_of(core: Any) -> threading.RLock:
    """The lock under which a core model's shared layers are changed for one call."""
    return _locks.setdefault(core, threading.RLock())


def call(core: Any, graph: Any, state: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Call a core model: its output (B,), and features by their names in matgl 4's ``feature_dict``.

    M3GNet, CHGNet and TensorNet return their layers when asked; hooks record those of MEGNet and SO3Net in this one
    call. Three-body indices of matgl 2.2.1's M3GNet count bonds over the whole batch, so that the output of a crystal
    depends on those before it (1e-4 relative); here they are counted crystal by crystal, as in the single calls that
    the published checkpoints were validated with.
    """
    with _lock_of(core), counting_by_crystal(core), listening(core) as (_, features), single_precision(core):
        raw = core(g=graph, state_attr=state)
    features |= {k: graph.ndata[k] for k in ("scalar_representation",) if k in graph.ndata}
    if isinstance(getattr(core, "readout", None), WeightedAtomReadOut):  # a sum here, an average in matgl 4
        features["readout"] = features["readout"] / graph.batch_num_nodes().unsqueeze(1)
    return raw.reshape(-1), features


def _with(function: Any, **replaced: Any) -> FunctionType:
    """The same function, for which some names of its module mean something else; the module is left as it is."""
    return FunctionType(function.__code__, function.__globals__ | replaced, argdefs=function.__defaults__)


def _lines_by_crystal(graph: Any, cutoff: float) -> Any:
    """Line graph of a batch in which every crystal has the three-body terms that it has alone.

    MatGL numbers the bonds within ``cutoff`` and takes the numbers for those of all bonds. A crystal's numbers start
    here at the first of all its bonds; the nodes between its last one and the next crystal's first are in no term.
    """
    lines = [create_line_graph(single, cutoff) for single in dgl.unbatch(graph)]
    first = [0, *graph.batch_num_edges().cumsum(0).tolist()[:-1]]

    def numbered(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part + at for part, at in zip(parts, first, strict=True)])

    source, target = (numbered([line.edges()[k] for line in lines]) for k in (0, 1))
    nodes = numbered([line.nodes() for line in lines])
    joined = dgl.graph((source, target), num_nodes=graph.num_edges())
    terms = [get_segment_indices_from_n(line.ndata["n_triple_ij"]) for line in lines]
    counts = [torch.bincount(of, minlength=line.num_nodes()) for of, line in zip(terms, lines, strict=True)]
    found = {key: torch.cat([line.ndata[key] for line in lines]) for key in ("bond_dist", "bond_vec")}
    for key, values in (found | {"n_triple_ij": torch.cat(counts)}).items():
        empty = values.new_zeros((graph.num_edges(), *values.shape[1:]))
        joined.ndata[key] = empty.index_copy(0, nodes.long(), values)
    return joined


def _terms(counts: Tensor) -> Tensor:
    """Bond to which every three-body term belongs; MatGL's own takes no bond without any for granted."""
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


m3gnet_forward = _with(M3GNet.forward, create_line_graph=_lines_by_crystal)
three_body_forward = _with(ThreeBodyInteractions.forward, get_segment_indices_from_n=_terms)


@contextmanager
def counting_by_crystal(core: Any) -> Iterator[None]:
    """Make an M3GNet count the bonds of every crystal of a batch by themselves, inside the block."""
    with ExitStack() as stack:
        if isinstance(core, M3GNet):
            stack.enter_context(forwarding(core, MethodType(m3gnet_forward, core)))
            for layer in core.three_body_interactions:
                stack.enter_context(forwarding(layer, MethodType(three_body_forward, layer)))
        yield


@contextmanager
def listening(core: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give the core model itself, and after the block the features of its one call inside the block.

    Hooks on the shared layers record them, so that one thread at a time is in the block of a model.
    """
    with _lock_of(core):
        if not _returns_layers(type(core)):
            with _hooked(core) as features:
                yield core, features
            return
        found: dict[str, Any] = {}
        forward = core.forward

        def recorded(**given: Any) -> Tensor:
            found.update(forward(**given, return_all_layer_output=True))
            return found["final"]

        with forwarding(core, recorded):
            yield core, found


def _returns_layers(core_class: type[nn.Module]) -> bool:
    """Whether a core model gives its layers when asked; a filled one hands that on."""
    forwards = (vars(c)["forward"] for c in core_class.__mro__ if "forward" in vars(c))
    return any("return_all_layer_output" in inspect.signature(forward).parameters for forward in forwards)


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
