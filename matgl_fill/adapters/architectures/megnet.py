"""Adapter of MEGNet."""

from __future__ import annotations

from typing import Any

import torch
from matgl.models import MEGNet
from torch import Tensor, nn

from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.filled import FilledMEGNet
from matgl_fill.adapters.graphs import Batch, mean_over_atoms, mean_over_bonds
from matgl_fill.errors import InputError


class MEGNetAdapter(Adapter):
    """Adapter of MEGNet.

    The structure embedding is the vector that enters the output network: Set2Set over atoms, Set2Set over bonds and
    the global state, concatenated. It is everything the prediction is made from, it is invariant, and it does not
    grow with the cell. The atom embedding is the atom features after the last block, the last per-atom quantity.

    The embedding of a tuned branch is made of plain means over atoms and over bonds, and of the global state, after
    every block. Set2Set attends to a few atoms of a crystal, so that a branch learns statistics of all of them badly
    through it; and what early blocks represent of elements and bonds need not pass through the last
    (``docs/method/defaults.md``).

    Multi-fidelity models (``ntypes_state``) are read at fidelity ``state``, by default 0 (PBE in the published model).
    """

    core_class = MEGNet
    filled_class = FilledMEGNet
    training_rate = 1.6e-2
    training_replay = 64
    search_by_gradient = True

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        super().__init__(model, state)
        self.core_dim = int(self.core.output_proj.layers[0].in_features)
        self.core_dim_atom = int(self.core._init_args["hidden_layer_sizes_conv"][-1])
        table = getattr(self.core.embedding, "layer_state_embedding", None)
        if state is not None and isinstance(table, nn.Embedding) and not 0 <= state < table.num_embeddings:
            raise InputError(f"state is {state}; the model's fidelities are 0 to {table.num_embeddings - 1}.")
        has_types = getattr(self.core.embedding, "ntypes_state", None) is not None
        self._multi_fidelity = has_types or isinstance(table, nn.Embedding)

    def state_attribute(self, default: Any) -> Tensor:
        """Fidelity index for multi-fidelity models; the converter's zeros for the others."""
        if self._multi_fidelity:
            return torch.tensor(self.fidelity or 0, dtype=torch.long)
        return super().state_attribute(default)

    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Set2Set readout, and the last atom features."""
        atoms = self.filled_class.atom_features(self.core, features)
        return features["readout"].reshape(len(batch), -1), atoms

    @property
    def branch_dim(self) -> int:
        """Width of the structure embedding of a tuned branch: of atoms, bonds and state after every block."""
        return 3 * self.core_dim_atom * len(self.core.blocks)

    def read_branch(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Means over atoms and bonds, and the state, after every block; and the atom features after the last one."""
        parts = []
        for i in range(len(self.core.blocks)):
            block = features[f"gc_{i + 1}"]
            parts += [mean_over_atoms(block["node_feat"], batch), mean_over_bonds(block["edge_feat"], batch)]
            parts.append(block["state_feat"].reshape(len(batch), -1))
        return torch.cat(parts, dim=1), self.filled_class.atom_features(self.core, features)

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002
        """Output of the output network on the structure embedding."""
        raw = self.core.output_proj(embedding)
        return (torch.sigmoid(raw) if self.core.is_classification else raw).flatten()

    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Atom features (N, k) after every block."""
        return [features[f"gc_{i + 1}"]["node_feat"] for i in range(len(self.core.blocks))]
