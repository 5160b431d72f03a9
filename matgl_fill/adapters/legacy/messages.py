"""The direction of messages, which MatGL turned round: in TensorNet with version 2.2, in MEGNet with version 3.

Where nothing but the order of a bond's two ends is concerned, exchanging the weights that read them is exact. TensorNet
also saw the bond's vector from its other end, which turns the sign of its skew tensors; under O(3) no prediction
depends on that, under SO(3) they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

READS_ENDS = {"TensorNet": ("tensor_embedding.emb2.weight", 2), "MEGNet": ("conv.edge_func.layers.0.weight", 4)}
"""Weights that read the two ends of a bond, and the number of parts of their columns, the two ends first."""
SKEW = ("tensor_embedding.distance_proj2.weight", "tensor_embedding.distance_proj2.bias")
"""Weights of TensorNet that its skew tensors are proportional to."""


def turned(architecture: str, state: Mapping[str, Tensor], group: str = "O(3)") -> dict[str, Tensor]:
    """Weights by name with those exchanged that read the two ends of a bond; twice is the identity.

    Args:
        architecture: ``"TensorNet"`` (of PyG) or ``"MEGNet"``.
        state: Weights of the model; those that are not concerned are passed on.
        group: Group under which a TensorNet is equivariant; under ``"SO(3)"`` the skew tensors' sign is turned too.
    """
    ending, parts = READS_ENDS[architecture]
    skew = SKEW if group == "SO(3)" else ()

    def exchanged(weight: Tensor) -> Tensor:
        size = weight.shape[1] // parts  # columns: both ends, and in MEGNet the bond and the state
        return torch.cat([weight[:, size : 2 * size], weight[:, :size], weight[:, 2 * size :]], dim=1)

    signs = {name: -tensor if name.endswith(skew) else tensor for name, tensor in state.items()}
    return {name: exchanged(tensor) if name.endswith(ending) else tensor for name, tensor in signs.items()}


def turn_messages(core: Any) -> None:
    """Exchange the weights of a MEGNet or TensorNet as :func:`turned` does, in place."""
    group = getattr(core, "equivariance_invariance_group", "O(3)")
    core.load_state_dict(turned(type(core).__name__, core.state_dict(), group))
