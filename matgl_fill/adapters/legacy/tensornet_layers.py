"""TensorNet's layers as MatGL had them on DGL before version 2.2, which TensorNet and QET were built of.

A file is of that time if it names the module ``matgl.models._tensornet_dgl`` with ``@model_version`` 1 (MatGL 2.2 made
it 2), or ``matgl.models._qet_dgl`` as :mod:`matgl_fill.adapters.legacy.qet` says. On PyG (``_tensornet_pyg``) only the
embedding was another one; there the interactions were today's.

MatGL's edges go from an atom to its neighbour. DGL sums messages at their destination, which is the neighbour, and
until 2.2 MatGL left it at that. Both ends of a bond have the bond from the other end as well, so a sum at the
destination is a sum over the same neighbours, with three consequences:

- the embedding read the two ends of a bond in the other order, and saw the bond's vector from its other end;
- an interaction, which sends what its destination knows, gave an atom *its own* features back, weighted by its
  neighbours' distances. No features travelled between atoms. The published weights were trained so;
- electrostatic potentials were of the atom's own charge, see :mod:`matgl_fill.adapters.legacy.qet`.

Weights and their names are today's, but for ``tensor_embedding.emb3``, whose output nothing used.
"""

from __future__ import annotations

from typing import Any

from matgl.layers._embedding import TensorEmbedding
from matgl.layers._graph_convolution import TensorNetInteraction
from matgl.models import TensorNet
from torch import Tensor


class LegacyTensorEmbedding(TensorEmbedding):
    """TensorNet's embedding before MatGL 2.2: every bond is read at its destination."""

    def message(self, x_i: Tensor, x_j: Tensor, *bonds: Any, **named_bonds: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Messages (E, units, 3, 3) from the features (E, units) of the atom that sums and of its neighbour."""
        return super().message(x_j, x_i, *bonds, **named_bonds)

    def forward(self, z: Tensor, edge_index: Tensor, *bonds: Any, **named_bonds: Any) -> tuple[Tensor, Tensor | None]:
        """Tensors (N, units, 3, 3) of the atoms, from edges (2, E) and bond vectors from source to destination."""
        return super().forward(z, edge_index.flip(0), *bonds, **named_bonds)


class LegacyTensorNetInteraction(TensorNetInteraction):
    """TensorNet's interaction on DGL before MatGL 2.2: an atom sums its own features, weighted by its bonds."""

    def forward(self, edge_index: Tensor, *features: Any, **named_features: Any) -> Tensor:
        """Tensors (N, units, 3, 3) of the atoms after the interaction."""
        return super().forward(edge_index[1].expand(2, -1), *features, **named_features)


def use_legacy_layers(core: TensorNet) -> None:
    """Make the layers of a new TensorNet, or of a class built on it, the old ones of DGL; weights stay.

    Args:
        core: Model on MatGL's plain PyG layers (``use_warp=False``).
    """
    core.tensor_embedding.__class__ = LegacyTensorEmbedding
    for layer in core.layers:
        layer.__class__ = LegacyTensorNetInteraction
