"""The direction of messages, which MatGL turned round: in TensorNet with version 2.2, in MEGNet with version 3.

Where nothing but the order of a bond's two ends is concerned, exchanging the weights that read them is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

READS_ENDS = {"TensorNet": ("tensor_embedding.emb2.weight", 2), "MEGNet": ("conv.edge_func.layers.0.weight", 4)}
"""Weights that read the two ends of a bond, and the number of parts of their columns, the two ends first."""


def turned(architecture: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name with those exchanged that read the two ends of a bond; twice is the identity.

    Args:
        architecture: ``"TensorNet"`` (of PyG) or ``"MEGNet"``.
        state: Weights of the model; those that are not exchanged are passed on.
    """
    ending, parts = READS_ENDS[architecture]

    def exchanged(weight: Tensor) -> Tensor:
        size = weight.shape[1] // parts  # columns: both ends, and in MEGNet the bond and the state
        return torch.cat([weight[:, size : 2 * size], weight[:, :size], weight[:, 2 * size :]], dim=1)

    return {name: exchanged(tensor) if name.endswith(ending) else tensor for name, tensor in state.items()}


def turn_messages(core: Any) -> None:
    """Exchange the weights of a MEGNet or TensorNet as :func:`turned` does, in place."""
    core.load_state_dict(turned(type(core).__name__, core.state_dict()))
