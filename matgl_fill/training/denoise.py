"""Denoising: the embedding learns from where noise displaced the atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure
from torch import Tensor

from matgl_fill.adapters import Adapter
from matgl_fill.training.labels.oracle import Labels
from matgl_fill.training.objectives import OracleObjective
from matgl_fill.utils.scaling import Scaling

NOISE = 0.1
"""Standard deviation of the displacements, Angstrom."""
STIFFNESS = 5.0
"""Stiffness of the springs that hold the atoms, eV/Angstrom^2.

It gives forces of half an eV/Angstrom, the scale of their loss.
"""
DRAWS = 4
"""Number of noisy copies of each crystal."""


def denoising(
    adapter: Adapter, scale: Scaling[Tensor], structures: Sequence[Structure], weight: float, rng: np.random.Generator
) -> OracleObjective:
    r"""Make an objective of energies and forces of springs that hold every atom where it was before noise was added.

    .. math:: E = \tfrac{k}{2} \sum_i |d_i|^2, \quad F_i = -k d_i

    For Gaussian noise the forces are the score of the noisy crystals, so that learning them is learning the force
    field of a distribution around the given crystals (Zaidi et al., arXiv 2206.00133). The springs are the "oracle" of
    an :class:`OracleObjective`: a linear head on the embedding gives the energy, its gradient the forces. Noise has
    no mean: a translation of all atoms costs nothing.

    Args:
        adapter: Adapter of the original model.
        scale: Scaling that standardises the embedding.
        structures: Crystals at rest.
        weight: Weight in the loss.
        rng: Generator of the noise.
    """
    crystals, energy, forces = [], [], []
    for structure in (s for _ in range(DRAWS) for s in structures):
        d = rng.normal(0.0, NOISE, (len(structure), 3))
        d -= d.mean(axis=0)
        coords = structure.cart_coords + d
        crystals.append(Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True))
        energy.append(STIFFNESS / 2 * (d**2).sum())
        forces.append(-STIFFNESS * d)
    labels = Labels(np.array(energy), forces, np.full((len(crystals), 3, 3), np.nan))
    Z = adapter.embed_graphs(adapter.graphs(crystals))[0]
    per_atom = labels.energy / np.array([len(s) for s in crystals])
    return OracleObjective("denoise", crystals, labels, weight, scale, (Z, per_atom))
