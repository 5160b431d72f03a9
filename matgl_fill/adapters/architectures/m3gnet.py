"""Adapter of M3GNet."""

from __future__ import annotations

from typing import Any

import torch
from matgl.models import M3GNet
from torch import Tensor, nn

from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledM3GNet
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, sum_over_atoms


class M3GNetAdapter(Adapter):
    """Adapter of M3GNet.

    The atom embedding is the atom features after the last block. The structure embedding of intensive models is the
    vector that enters the output network: the readout and the state. Extensive models and potentials have no such
    vector (``feature_dict["readout"]`` holds atomic energies there, of width 1); their output network acts on the atom
    features, so the structure embedding is the mean of these, which does not grow with the cell.
    """

    core_class = M3GNet
    filled_class = FilledM3GNet
    training_rate = 1.6e-2
    label_rate = 1e-3

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim_atom = int(self.core.embedding.layer_node_embedding.embedding_dim)
        if self.core.is_intensive:
            self.core_dim = int(self.core.final_layer.layers[0].in_features)
        else:
            self.core_dim = self.core_dim_atom

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Readout of intensive models or mean over atoms of the others, and the last atom features."""
        atoms = self.filled_class.atom_features(self.core, features)
        if self.core.is_intensive:
            return features["readout"].reshape(len(batch), -1), atoms
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor:
        """Output of the output network: on the readout of intensive models, summed over atoms for the others."""
        if not self.core.is_intensive:
            return sum_over_atoms(self.core.final_layer.gated(atoms), batch).flatten()
        raw = self.core.final_layer(backend.readout(self.core, embedding, batch.n_atoms))
        return (torch.sigmoid(raw) if self.core.task_type == "classification" else raw).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Atom features (N, k) after every block."""
        return [features[f"gc_{i + 1}"]["node_feat"] for i in range(self.core.n_blocks)]
