"""Adapter of CHGNet."""

from __future__ import annotations

from typing import Any

from matgl.models import CHGNet
from torch import Tensor, nn

from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledCHGNet
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, sum_over_atoms


class CHGNetAdapter(Adapter):
    """Adapter of CHGNet.

    The atom embedding is the atom features after the last atom block. The output network acts on them (on bond or angle
    features in the rarer variants, which have no invariant per-atom counterpart, so the atom features serve there too).
    The structure embedding is their mean over atoms, so that it does not grow with the cell.
    """

    core_class = CHGNet
    filled_class = FilledCHGNet

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = int(self.core.atom_embedding.embedding_dim)

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean of the last atom features over atoms, and these features."""
        atoms = self.filled_class.atom_features(self.core, features)
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Pooled output of the output network on atoms; None for the variants that read bonds or angles."""
        if self.core.readout_field != "atom_feat":
            return None
        pool = sum_over_atoms if self.core.readout_operation == "sum" else mean_over_atoms
        return pool(self.core.final_layer(atoms), batch).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Atom features (N, k) after every block."""
        return [features[f"gc_{i + 1}"]["atom_feat"] for i in range(self.core.n_blocks)]
