"""Adapter of SO3Net."""

from __future__ import annotations

from typing import Any

from matgl.models import SO3Net
from torch import Tensor, nn

from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledSO3Net
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, sum_over_atoms


class SO3NetAdapter(Adapter):
    """Adapter of SO3Net.

    The atom embedding is the l = 0 part of the equivariant features after the last block, the only part that is
    invariant as it stands. The structure embedding of models with ``target_property="graph"`` is the readout that
    enters the output network; of others it is the mean of the atom features, so that it does not grow with the cell.
    """

    core_class = SO3Net
    filled_class = FilledSO3Net

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = int(self.core.dim_node_embedding)
        if self.core.target_property == "graph":
            self.core_dim = int(self.core.final_layer.layers[0].in_features)

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Readout or mean over atoms, and the scalar atom features."""
        atoms = self.filled_class.atom_features(self.core, features)
        if self.core.target_property == "graph":
            return features["readout"].reshape(len(batch), -1), atoms
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor | None:
        """Output of the output network on the readout (``"graph"``) or summed over atoms (extensive ``"atomwise"``)."""
        if self.core.target_property == "graph":
            return self.core.final_layer(backend.readout(self.core, embedding, batch.n_atoms)).flatten()
        if self.core.target_property != "atomwise" or self.core.is_intensive:
            return None
        return sum_over_atoms(self.core.final_layer.gated(atoms), batch).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Features (N, k) of l = 0 after every block; matgl 2.2.1 gives the last one only."""
        names = [f"gc_{i + 1}" for i in range(self.core.nblocks)]
        return [features[n][:, 0] for n in names if n in features] or [features["scalar_representation"]]
