"""Adapter of TensorNet."""

from __future__ import annotations

from typing import Any

import torch
from matgl.models import TensorNet
from torch import Tensor, nn

from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledTensorNet
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, sum_over_atoms


class TensorNetAdapter(Adapter):
    """Adapter of TensorNet.

    The atom embedding is the invariant norms of the scalar, antisymmetric and symmetric traceless parts of each atom's
    tensor after the last interaction, normalised and mixed by the network's own linear layer; the readout acts on
    nothing else. The structure embedding is their mean over atoms, so that it does not grow with the cell.
    """

    core_class = TensorNet
    filled_class = FilledTensorNet

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = int(self.core.linear.out_features)

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean over atoms, and the per-atom features."""
        atoms = self.filled_class.atom_features(self.core, features)
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Output of the output network, summed over atoms; None for intensive models, which weigh the atoms."""
        return None if self.core.is_intensive else sum_over_atoms(self.core.final_layer.gated(atoms), batch).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Squared norms of the three irreducible parts of every atom's tensors after every interaction."""
        return [tensor_norms(features[f"gc_{i + 1}"]) for i in range(len(self.core.layers))]


def tensor_norms(X: Tensor) -> Tensor:
    """Squared norms (N, 3 units) of the scalar, antisymmetric and symmetric traceless parts of X (N, units, 3, 3)."""
    trace = X.diagonal(dim1=-2, dim2=-1).mean(-1)
    scalar = trace[..., None, None] * torch.eye(3, dtype=X.dtype, device=X.device)
    antisymmetric = 0.5 * (X - X.transpose(-2, -1))
    parts = (scalar, antisymmetric, X - scalar - antisymmetric)
    return torch.cat([(p**2).sum((-2, -1)) for p in parts], dim=1)
