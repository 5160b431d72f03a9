"""M3GNet as MatGL ran it before version 4.1, on PyG.

Weights are loaded key for key. Three things have changed since, and weights of that time are right with these only:

1. Until MatGL 2.2 the messages of the convolution were summed at the destination atom of their bond; since MatGL 3 they
   are summed at the source atom. The three-body part has its centre at the source in both.
2. Until MatGL 4.0 the two bonds of a triplet were named by their ranks among the bonds within the three-body cutoff,
   and these ranks were taken for indices of *all* bonds: to find the third atom, the cutoff weights and the bond that
   receives the message. Only the angle and the length came from the bonds themselves. Here a rank counts from the
   crystal's first bond, as it did for a single crystal, so that batches do not matter.
3. Until MatGL 3.0.1 the readout ``"weighted_atom"`` was a weighted sum over atoms; now it is a weighted mean, and the
   weights come from a deeper network.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from matgl.graph._compute import compute_pair_vector_and_distance, create_line_graph
from matgl.layers import MLP
from matgl.layers._graph_convolution import M3GNetGraphConv
from matgl.layers._readout_torch import WeightedAtomReadOut
from matgl.layers._three_body import ThreeBodyInteractions
from matgl.models import M3GNet
from matgl.utils.maths import scatter_add
from torch import Tensor, nn

from matgl_fill.adapters.architectures.m3gnet import M3GNetAdapter
from matgl_fill.adapters.filled import Filled, FilledM3GNet


class LegacyM3GNet(M3GNet):
    """M3GNet with the predictions of MatGL before version 4.1.

    Args:
        sums_at: Atom of a bond at which its messages are summed: ``"destination"`` until MatGL 2.2, ``"source"`` in
            MatGL 3.0 to 4.0.
        sums_readout: Whether the readout ``"weighted_atom"`` is a sum, as until MatGL 3.0.1.
        kwargs: Keyword arguments of MatGL's M3GNet.
    """

    def __init__(
        self, sums_at: Literal["destination", "source"] = "destination", sums_readout: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._init_args = kwargs | {"sums_at": sums_at, "sums_readout": sums_readout}
        for layer in self.three_body_interactions:
            layer.__class__ = RankedThreeBody
        if sums_at == "destination":
            for block in self.graph_layers:
                block.conv.__class__ = DestinationConv
        readout: Any = getattr(self, "readout", None)
        if sums_readout and isinstance(readout, WeightedAtomReadOut):
            self.readout = SummedReadOut(readout.dims, readout.activation)

    def forward(
        self,
        g: Any,
        state_attr: Tensor | None = None,
        l_g: dict[str, Tensor] | None = None,  # noqa: ARG002
        return_all_layer_output: bool = False,
    ) -> Any:
        """Forward pass of M3GNet; triplets ``l_g`` that may be given are those of a new M3GNet and are not used."""
        shifts = getattr(g, "pbc_offshift", None)
        vectors, lengths = compute_pair_vector_and_distance(g.pos, g.edge_index, shifts)
        triplets = create_line_graph(g.edge_index, lengths, vectors, shifts, len(g.pos), self.threebody_cutoff)
        bonds = triplets["line_edge_index"].long()
        crystal = getattr(g, "batch", None)
        ranks = bond_ranks(lengths <= self.threebody_cutoff, None if crystal is None else crystal[g.edge_index[0]])
        triplets["line_edge_index"] = torch.cat([bonds, ranks[bonds]])
        return super().forward(g, state_attr, triplets, return_all_layer_output)


class RankedThreeBody(ThreeBodyInteractions):
    """Three-body interactions that take the rank of a bond within the cutoff for its index."""

    def forward(self, edge_dst_atom: Tensor, line_edge_index: Tensor, *features: Any) -> Tensor:
        """Bond features (E, k); triplets (4, T) are the two bonds of each, which gave its angle, and their ranks."""
        return super().forward(edge_dst_atom, line_edge_index[2:], *features)


class DestinationConv(M3GNetGraphConv):
    """Convolution of M3GNet that sums messages at the destination atom."""

    def node_update_(
        self,
        edge_index: Tensor,
        edge_feat: Tensor,
        node_feat: Tensor,
        rbf: Tensor,
        u_per_edge: Tensor | None,
        num_nodes: int,
    ) -> Tensor:
        """Update (N, k) of the atom features: the sum of the messages of the bonds that end at each atom."""
        inputs = [node_feat[edge_index[0]], node_feat[edge_index[1]], edge_feat]
        if self.include_state and u_per_edge is not None:
            inputs.append(u_per_edge)
        messages = self.node_update_func(torch.hstack(inputs)) * self.node_weight_func(rbf)
        return scatter_add(messages, edge_index[1], dim_size=num_nodes, dim=0)


class SummedReadOut(nn.Module):
    """Sum over atoms of their transformed features, weighted by a single layer.

    Args:
        dims: Widths of the network that transforms the features, theirs first.
        activation: Activation of that network.
    """

    def __init__(self, dims: list[int], activation: nn.Module) -> None:
        super().__init__()
        self.mlp = MLP(dims=dims, activation=activation, activate_last=True)
        self.weight = nn.Sequential(nn.Linear(dims[0], 1), nn.Sigmoid())

    def forward(self, node_feat: Tensor, batch: Tensor | None = None) -> Tensor:
        """Readout (B, k) of atom features (N, k)."""
        weighted = self.weight(node_feat) * self.mlp(node_feat)
        if batch is None:
            return weighted.sum(dim=0, keepdim=True)
        return scatter_add(weighted, batch.long(), dim_size=int(batch.max()) + 1, dim=0)


class FilledLegacyM3GNet(Filled, LegacyM3GNet):
    """:class:`LegacyM3GNet` with a tuned branch, a correction, or both."""

    atom_features = staticmethod(FilledM3GNet.atom_features)


class LegacyM3GNetAdapter(M3GNetAdapter):
    """Adapter of :class:`LegacyM3GNet`; the embedding is M3GNet's."""

    core_class = LegacyM3GNet
    filled_class = FilledLegacyM3GNet


def bond_ranks(inside: Tensor, crystal: Tensor | None) -> Tensor:
    """Rank of every bond among its crystal's bonds within a cutoff, counted from the crystal's first bond.

    Args:
        inside: Whether each bond (E,) is within the cutoff; the bonds of a crystal follow each other.
        crystal: Index (E,) of each bond's crystal in its batch; None for one crystal.

    Returns:
        Indices (E,) of bonds; those of bonds beyond the cutoff mean nothing.
    """
    rank = inside.long().cumsum(0) - 1
    if crystal is None:
        return rank
    beyond = torch.bincount(crystal[~inside], minlength=int(crystal.max()) + 1 if len(crystal) else 0)
    return rank + (beyond.cumsum(0) - beyond)[crystal]
