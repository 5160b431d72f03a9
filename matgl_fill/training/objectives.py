"""Objectives, the terms of the loss on generated crystals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.training.labels.oracle import Labels
from matgl_fill.utils.scaling import Scaling

HEAD_RIDGE = 10.0
"""Ridge penalty of heads that are fitted to the pool before training."""
CLIP = 5.0
"""Largest standardised target; larger ones are clipped, so that one odd crystal cannot dominate."""
ENERGY_SCALE, FORCE_SCALE, STRESS_SCALE = 0.1, 0.5, 0.05
"""Errors that count as 1: eV/atom, eV/Angstrom, eV/Angstrom^3."""
TERM_WEIGHTS = (1.0, 0.3, 0.3)
"""Weights of energy, force and stress errors."""


class Objective(Protocol):
    """A term of the loss on generated crystals.

    Attributes:
        name: Name of the term, in history and report.
        weight: Weight in the loss.
        structures: The n crystals of the term, which ``rows`` refer to.
        needs_geometry: Whether the term differentiates with respect to positions and strain.
    """

    name: str
    weight: float
    structures: Sequence[Structure]
    needs_geometry: bool

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:
        """Scalar loss of a batch: means over crystals, and means over atoms times ``batch.atom_weight``.

        Args:
            adapter: Adapter of the model that is trained.
            output: Output of the model for the batch.
            batch: Batch of crystals.
            rows: Rows of the batch's crystals in ``structures``, (B,).
        """

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of heads, which are trained along with the model and thrown away afterwards."""


def standard_scaling(values: np.ndarray) -> Scaling[Tensor]:
    """Scaling of values (n, d) to mean 0 and deviation 1 per column, in single precision.

    Constant columns keep their unit.
    """
    return Scaling.of(values, floor=1e-6, narrow=1.0).tensors(torch.float32)


def fitted_head(X: Tensor, Y: Tensor) -> nn.Linear:
    """Linear layer (d -> k) that is the ridge regression of ``Y`` (n, k) on ``X`` (n, d)."""
    A = torch.cat([X, X.new_ones(len(X), 1)], dim=1).double()
    penalty = torch.eye(A.shape[1], dtype=torch.float64) * HEAD_RIDGE
    W = torch.linalg.solve(A.T @ A + penalty, A.T @ Y.double()).float()
    head = nn.utils.skip_init(
        nn.Linear, X.shape[1], Y.shape[1], dtype=torch.float32
    )  # draws nothing from the global generator
    with torch.no_grad():
        head.weight.copy_(W[:-1].T)
        head.bias.copy_(W[-1])
    return head


class ReadoutObjective:
    """Objective of a linear head on the embedding, which predicts given quantities of a crystal.

    The head starts as the ridge regression on pool crystals, so that from the first step the error shows what the
    embedding lacks at the generated crystals, not an untrained head.

    Args:
        name: Name of the term.
        scale: Scaling that standardises the embedding.
        known: Embedding (n, dim) of pool crystals and their quantities (n, k).
        structures: The m generated crystals.
        targets: Quantities of the generated crystals, (m, k).
        weight: Weight in the loss.
        pool_weight: Weight of the same error on pool crystals that are replayed, relative to that on the generated
            ones; ``known`` has to hold the whole pool then.
    """

    needs_geometry = False

    def __init__(
        self,
        name: str,
        scale: Scaling[Tensor],
        known: tuple[np.ndarray, np.ndarray],
        structures: Sequence[Structure],
        targets: np.ndarray,
        weight: float,
        pool_weight: float = 0.0,
    ) -> None:
        self.name, self.weight, self.structures, self.pool_weight = name, weight, structures, pool_weight
        self._scale = scale
        standard = standard_scaling(known[1])
        self._targets = standard(torch.tensor(targets, dtype=torch.float32)).clamp(-CLIP, CLIP)
        self._known = standard(torch.tensor(known[1], dtype=torch.float32)).clamp(-CLIP, CLIP)
        self._head = fitted_head(scale(torch.tensor(known[0])), self._known)

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:  # noqa: ARG002
        """Smooth-L1 error of the standardised quantities."""
        return self._error(output, self._targets[rows])

    def pool_loss(self, output: Output, rows: Tensor) -> Tensor:
        """Smooth-L1 error of the standardised quantities of pool crystals, ``rows`` (B,) of the pool."""
        return self._error(output, self._known[rows])

    def _error(self, output: Output, targets: Tensor) -> Tensor:
        z = output.embedding
        return smooth_l1_loss(self._head.to(z.device)(self._scale.like(z)(z)), targets.to(z.device))

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the head."""
        return list(self._head.parameters())


class OracleObjective:
    """Objective of an oracle's energies, forces and stresses: 3N + 7 labels per crystal.

    Potentials are trained on their own output. For property models the energy is a linear head on the embedding,
    which starts as the ridge regression on other labelled crystals, so that the trunk learns from forces and stress,
    which are derivatives of that energy with respect to positions and strain, while replay holds the model's own
    output.

    With a potential's own labels the same term holds the potential: it replays its energies, forces and stresses.

    Args:
        name: Name of the term.
        structures: Generated crystals.
        labels: Labels of the crystals, with energies without elemental shifts; values that are NaN are left out.
        weight: Weight in the loss.
        scale: Scaling that standardises the embedding.
        known: Embedding (n, dim) of crystals and their energies per atom (n,), from which the head starts; None for
            potentials.
    """

    needs_geometry = True

    def __init__(
        self,
        name: str,
        structures: Sequence[Structure],
        labels: Labels,
        weight: float,
        scale: Scaling[Tensor],
        known: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        self.name, self.weight, self.structures = name, weight, structures
        self.labels, self._scale = labels, scale
        self._head: nn.Linear | None = None
        if known is not None:
            target = torch.tensor(known[1], dtype=torch.float32)[:, None]
            self._head = fitted_head(scale(torch.tensor(known[0])), target)

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:  # noqa: ARG002
        """Smooth-L1 errors of energy per atom, forces and stress, each over its scale, with weights 1, 0.3, 0.3."""
        assert batch.displacement is not None
        assert batch.strain is not None
        energy = output.prediction
        if self._head is not None:
            z = output.embedding
            energy = self._head.to(z.device)(self._scale.like(z)(z)).squeeze(-1) * batch.n_atoms
        gradient, virial = torch.autograd.grad(energy.sum(), [batch.displacement, batch.strain], create_graph=True)
        e, f, s = (known.to(energy.device) for known in self.labels.gather(rows))
        pairs = (
            (energy / batch.n_atoms / ENERGY_SCALE, e / batch.n_atoms / ENERGY_SCALE),
            (-gradient / FORCE_SCALE, f / FORCE_SCALE),
            (virial / batch.volume[:, None, None] / STRESS_SCALE, s / STRESS_SCALE),
        )
        errors = [torch.where(torch.isfinite(known), own - known, 0.0) for own, known in pairs]
        weights = (TERM_WEIGHTS[0], TERM_WEIGHTS[1] * batch.atom_weight, TERM_WEIGHTS[2])
        terms = [w * smooth_l1_loss(x, torch.zeros_like(x)) for w, x in zip(weights, errors, strict=True)]
        return torch.stack(terms).sum()

    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the head, if there is one."""
        return [] if self._head is None else list(self._head.parameters())
