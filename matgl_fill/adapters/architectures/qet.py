"""Adapter of QET."""

from __future__ import annotations

from typing import Any

from matgl.models import QET
from torch import Tensor, nn

from matgl_fill.adapters.architectures.tensornet import tensor_norms
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledQET
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, sum_over_atoms
from matgl_fill.errors import ModelError


class QETAdapter(Adapter):
    """Adapter of QET.

    The atom embedding is what enters the output network: TensorNet's invariant atom features with the equilibrated
    charge and the electrostatic potential, normalised. The structure embedding is their mean over atoms, so that it
    does not grow with the cell.
    """

    core_class = QET
    filled_class = FilledQET

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        if backend.NAME == "DGL":
            raise ModelError("QET is served on matgl 4 (PyG) only; unset MATGL_BACKEND and install matgl>=4.1.2.")
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = int(self.core.norm.normalized_shape[0])

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean over atoms, and the normalised atom features with charge and potential."""
        atoms = self.filled_class.atom_features(self.core, features)
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002
        """Output of the output network, summed over atoms."""
        return sum_over_atoms(self.core.final_layer(atoms), batch).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Squared tensor norms after every interaction, as for TensorNet, which QET extends."""
        return [tensor_norms(features[f"gc_{i + 1}"]) for i in range(len(self.core.layers))]
