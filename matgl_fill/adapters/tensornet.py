"""TensorNet."""

from __future__ import annotations

from typing import Any

from matgl.models import TensorNet
from torch import Tensor, nn

from matgl_fill.adapters.base import Adapter, Batch, mean_over_atoms
from matgl_fill.adapters.filled import FilledTensorNet


class TensorNetAdapter(Adapter):
    """Embedding of TensorNet.

    Atom level: invariant norms of the scalar, antisymmetric and symmetric traceless parts of each atom's tensor
    after the last interaction, normalised and mixed by the network's own linear layer; the readout acts on nothing
    else. Structure level: their mean over atoms, so that it does not grow with the cell.
    """

    core_class = TensorNet
    filled_class = FilledTensorNet
    training_steps = 100
    training_rate = 2e-3
    training_replay = 16

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = int(self.core.linear.out_features)

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean over atoms, and per-atom features."""
        atoms = features["readout"]
        return mean_over_atoms(atoms, batch), atoms
