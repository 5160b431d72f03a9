"""Error of a potential's own energies, forces and stresses, as a term of the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pymatgen.core import Structure
from torch import Tensor, nn

from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.training.labels import LabelledSet

ENERGY_SCALE, FORCE_SCALE, STRESS_SCALE = 0.1, 0.3, 0.1
"""Errors that count as 1: eV/atom, eV/Angstrom, eV/Angstrom^3."""

Shares = tuple[float, float, float]
"""Weights of the errors of energies, forces and stresses."""
EVEN: Shares = (1.0, 1.0, 1.0)


class PotentialObjective:
    r"""Mean absolute errors of energies per atom, forces and stresses, each over its scale.

    .. math:: L = \frac{\langle |\Delta E / N| \rangle}{0.1\,\mathrm{eV}}
        + \frac{\langle |\Delta F| \rangle}{0.3\,\mathrm{eV/A}}
        + \frac{\langle |\Delta \sigma| \rangle}{0.1\,\mathrm{eV/A^3}}

    Absolute errors let a few crystals with large forces count no more than they should, and keep pulling at the small
    forces of crystals at rest. Labels that are NaN are left out.

    Args:
        name: Name of the term.
        labelled: Crystals with labels at the potential's own level of theory; with its own predictions as labels the
            term holds the potential to what it was.
        weight: Weight in the loss.
        batch_size: Number of crystals in a step.
        shares: Weights of the errors of energies, forces and stresses.
    """

    needs_geometry = True

    def __init__(self, name: str, labelled: LabelledSet, weight: float, batch_size: int, shares: Shares = EVEN) -> None:
        self.name, self.weight = name, weight
        self.structures: Sequence[Structure] = labelled.structures
        self.labels, self.batch_size, self.shares = labelled.labels, batch_size, shares

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:  # noqa: ARG002
        """Sum of the three errors."""
        assert batch.displacement is not None
        assert batch.strain is not None
        energy = output.prediction
        gradient, virial = torch.autograd.grad(energy.sum(), [batch.displacement, batch.strain], create_graph=True)
        e, f, s = (known.to(energy.device) for known in self.labels.gather(rows))
        errors = (
            _mean_error(energy / batch.n_atoms, e / batch.n_atoms) / ENERGY_SCALE,
            _mean_error(-gradient, f) / FORCE_SCALE * batch.atom_weight,
            _mean_error(virial / batch.volume[:, None, None], s) / STRESS_SCALE,
        )
        return torch.stack([share * error for share, error in zip(self.shares, errors, strict=True)]).sum()

    def parameters(self) -> list[nn.Parameter]:
        """None: a potential has no head."""
        return []


def _mean_error(own: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error, in which labels that are NaN count as right."""
    return torch.where(torch.isfinite(known), own - known, 0.0).abs().mean()
