"""Replay of a potential's own physics around the pool, while it learns elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor, nn

from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.errors import InputError
from matgl_fill.generate.copies import altered_copies, elements_of
from matgl_fill.train import Labels, Material, label, register_objective
from matgl_fill.train.objectives import Objective

HELD = 400
"""Crystals whose physics is held."""
SAMPLE = 100
"""Pool crystals on which the mean force is taken, of which the guard allows a share."""
ATOMS = 16
"""Atoms of each at most."""
WEIGHT = 0.01
"""Of the term; one budget of drift then costs as much as an oracle error of a few hundredths eV/Angstrom."""


class PhysicsReplay:
    """Holds a potential's own energies and forces, in units of what the guard allows.

    The error is the mean absolute change, so that a small one counts too: a squared error would let forces drift by
    the few per cent at which the guard refuses.

    Args:
        name: of the term.
        structures: crystals that are held.
        labels: the original potential's.
        energy: change of the energy that counts as 1, eV/atom.
        force: change of a force component that counts as 1, eV/Angstrom.
        weight: in the loss.
    """

    needs_geometry = True

    def __init__(
        self, name: str, structures: Sequence[Structure], labels: Labels, energy: float, force: float, weight: float
    ) -> None:
        self.name, self.weight, self.structures = name, weight, structures
        self._labels, self._energy, self._force = labels, energy, force

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:  # noqa: ARG002
        """Mean absolute changes of energy per atom and forces, each over its unit."""
        assert batch.displacement is not None
        gradient = torch.autograd.grad(output.prediction.sum(), batch.displacement, create_graph=True)[0]
        e, f, _ = self._labels.gather(rows)
        energy = ((output.prediction - e) / batch.n_atoms).abs().mean() / self._energy
        return energy + (gradient + f).abs().mean() / self._force

    def parameters(self) -> list[nn.Parameter]:
        """None."""
        return []


@register_objective("physics_replay")
def physics_replay(m: Material) -> Objective:
    """Own energies and forces on altered copies of pool crystals, with other elements put in.

    No crystal of the pool is held itself: the guard's verdict on those that training never sees stays one.

    Raises:
        InputError: the model is no potential.
    """
    if not m.adapter.is_potential:
        raise InputError("objective 'physics_replay' holds forces, which only potentials have.")
    known = {s.composition.reduced_formula for s in m.pool}
    small = [s for s in m.pool if len(s) <= ATOMS] or list(m.pool)
    drawn = [small[i] for i in m.rng.permutation(len(small))[: 2 * HELD]]
    count = -(-2 * HELD // len(drawn))
    copies = altered_copies(drawn, count, m.rng, m.config.rattle, m.config.strain, 1.0, elements_of(m.pool))
    new = [s for s in copies if s.composition.reduced_formula not in known][:HELD]
    labels = label(new, m.adapter)
    good = np.flatnonzero(labels.usable())
    labels, new = labels.subset(good), [new[i] for i in good]
    own = label(drawn[:SAMPLE], m.adapter)
    force = m.config.max_force_drift * float(np.abs(np.concatenate(own.forces)).mean())
    return PhysicsReplay("physics replay", new, labels, m.config.max_energy_shift, force, WEIGHT)
