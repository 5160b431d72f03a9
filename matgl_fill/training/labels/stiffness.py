"""Response of a crystal to strain and displacement, by an energy model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses
from pymatgen.core import Lattice, Structure

from matgl_fill.training.labels.oracle import Labels, Source, label

STRAIN = 0.01
"""Norm of the strains."""
DISPLACEMENT = 0.02
"""Standard deviation of the displacements, Angstrom."""
DRAWS = 2
"""Number of random displacements per crystal."""
NAMES = ("bulk stiffness", "shear stiffness", "force constant", "squared frequency", "pressure", "residual force")
SCALES = np.array([0.1, 0.1, 1.0, 0.02, 0.02, 0.2])
"""Values of each quantity (eV/A^3, eV/A^3, eV/A^2, eV/(A^2 u), eV/A^3, eV/A) above which it enters as a logarithm."""


def _directions() -> list[np.ndarray]:
    """Isotropic strain and the five traceless ones, orthonormal."""
    diagonal = [np.eye(3) / np.sqrt(3), np.diag([1.0, -1.0, 0.0]) / np.sqrt(2), np.diag([1.0, 1.0, -2.0]) / np.sqrt(6)]
    shear = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        u = np.zeros((3, 3))
        u[i, j] = u[j, i] = 1 / np.sqrt(2)
        shear.append(u)
    return diagonal + shear


def _altered(structure: Structure, displacements: np.ndarray) -> list[Structure]:
    """The crystal itself, under six strains, and under random displacements."""
    out = [structure]
    for u in _directions():
        lattice = Lattice(structure.lattice.matrix @ (np.eye(3) + STRAIN * u))
        out.append(Structure(lattice, structure.species, structure.frac_coords))
    for d in displacements:
        coords = structure.cart_coords + DISPLACEMENT * d
        out.append(Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True))
    return out


@dataclass(frozen=True)
class Responses:
    """Responses and labels of n crystals by an energy model.

    Attributes:
        values: Responses in the order of :data:`NAMES`, (n, 6), NaN where the model failed; (n, 0) if not asked for.
        labels: Energies, forces and stresses.
    """

    values: np.ndarray
    labels: Labels

    def __len__(self) -> int:
        return len(self.values)

    def usable(self) -> np.ndarray:
        """Mask (n,) of crystals with finite values and usable labels."""
        return self.labels.usable() & np.isfinite(self.values).all(axis=1)

    def subset(self, index: np.ndarray) -> Responses:
        """Responses and labels of some crystals."""
        return Responses(self.values[index], self.labels.subset(index))

    @classmethod
    def joined(cls, parts: Sequence[Responses]) -> Responses:
        """Join the responses of several lists of crystals, one list after the other."""
        energy, stress = (np.concatenate([getattr(p.labels, k) for p in parts]) for k in ("energy", "stress"))
        labels = Labels(energy, [f for p in parts for f in p.labels.forces], stress)
        return cls(np.concatenate([p.values for p in parts]), labels)


def responses(structures: Sequence[Structure], source: Source, seed: int = 0, plain: bool = False) -> Responses:
    r"""Calculate the invariant second-order response of crystals by finite differences of forces and stress.

    Bulk and shear stiffness are u : (sigma(strain u) - sigma(0)) / strain, for the isotropic u and averaged over the
    five traceless ones; force constant and squared frequency are traces of the Hessian and of the dynamical matrix
    per degree of freedom, estimated from random displacements d as :math:`d^T (F(x) - F(x + a d)) / a` (Hutchinson);
    pressure and root mean square force are taken as they are. Each is compressed by asinh over ``SCALES``.

    Args:
        structures: The n crystals.
        source: Energy model.
        seed: Seed of the displacements.
        plain: Whether only the labels are calculated, with one calculation per crystal instead of nine.

    Returns:
        Responses and labels of the unaltered crystals.
    """
    if plain:
        return Responses(np.empty((len(structures), 0)), label(structures, source))
    rng = np.random.default_rng(seed)
    draws = [rng.standard_normal((DRAWS, len(s), 3)) for s in structures]
    many = [t for s, d in zip(structures, draws, strict=True) for t in _altered(s, d)]
    step = len(_directions()) + DRAWS + 1
    labels = label(many, source)
    out = np.empty((len(structures), len(NAMES)))
    for row, structure, d, k in zip(out, structures, draws, range(0, len(many), step), strict=True):
        row[:] = _row(structure, d, labels, k)
    return Responses(np.arcsinh(out / SCALES), labels.subset(np.arange(0, len(many), step)))


def _row(structure: Structure, draws: np.ndarray, labels: Labels, k: int) -> list[float]:
    """Responses of one crystal whose alterations start at row ``k`` of ``labels``."""
    directions = _directions()
    stress, forces = labels.stress[k], labels.forces[k]
    stiffness = [float((u * (labels.stress[k + 1 + i] - stress)).sum()) / STRAIN for i, u in enumerate(directions)]
    mass = atomic_masses[list(structure.atomic_numbers)][:, None]
    constants, squares = [], []
    for i, d in enumerate(draws):
        change = (forces - labels.forces[k + 1 + len(directions) + i]) / DISPLACEMENT
        constants.append(float((d * change).mean()))
        squares.append(float((d * change / mass).mean()))
    pressure = -float(np.trace(stress)) / 3
    residual = float(np.sqrt((forces**2).mean()))
    return [
        stiffness[0],
        float(np.mean(stiffness[1:])),
        float(np.mean(constants)),
        float(np.mean(squares)),
        pressure,
        residual,
    ]
