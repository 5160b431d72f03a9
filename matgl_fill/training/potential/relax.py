"""Relaxation of many crystals at once by a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Lattice, Structure

from matgl_fill.adapters import Adapter, predict
from matgl_fill.utils.console import track

ARM = 5.0
"""Length in Angstrom by which strain is multiplied, to count like a displacement."""
LONGEST, PULL = 0.1, 2.0
"""Longest move of an atom in a step (Angstrom), and force (eV/Angstrom) beyond which forces are scaled down."""
FIRST, LARGEST, PATIENCE = 0.1, 0.4, 5
"""First and largest time step, and number of steps downhill before it grows."""


@dataclass
class _Walker:
    """One crystal on its way down, by the FIRE algorithm (Bitzek et al., Phys. Rev. Lett. 97, 170201)."""

    structure: Structure
    velocity: np.ndarray
    time_step: float = FIRST
    mixing: float = 0.1
    downhill: int = 0

    def step(self, forces: np.ndarray, stress: np.ndarray) -> None:
        """Move atoms and cell once along forces (atoms, 3) and stress (3, 3), which is -dE/dstrain over the volume."""
        pull = np.vstack([forces, -stress * self.structure.volume / (ARM * len(forces))])
        pull = pull / max(1.0, np.linalg.norm(pull, axis=1).max() / PULL)
        if (pull * self.velocity).sum() > 0:
            length = np.linalg.norm(self.velocity) / max(float(np.linalg.norm(pull)), 1e-12)
            self.velocity = (1 - self.mixing) * self.velocity + self.mixing * length * pull
            self.downhill += 1
            if self.downhill > PATIENCE:
                self.time_step, self.mixing = min(1.1 * self.time_step, LARGEST), 0.99 * self.mixing
        else:
            self.velocity = np.zeros_like(self.velocity)
            self.time_step, self.mixing, self.downhill = 0.5 * self.time_step, 0.1, 0
        self.velocity = self.velocity + self.time_step * pull
        move = self.time_step * self.velocity
        move = move * min(1.0, LONGEST / max(float(np.linalg.norm(move, axis=1).max()), 1e-12))
        strain = move[-3:] / ARM
        lattice = Lattice(self.structure.lattice.matrix @ (np.eye(3) + (strain + strain.T) / 2))
        strained = Structure(lattice, self.structure.species, self.structure.frac_coords)
        positions = strained.cart_coords + move[:-3]
        self.structure = Structure(lattice, self.structure.species, positions, coords_are_cartesian=True)


def relax(adapter: Adapter, crystals: Sequence[Structure], steps: int) -> list[Structure]:
    """Relax atoms and cells of crystals by a few steps; those that fall apart are left out.

    All crystals are predicted in batches, which costs less than one after the other. A few steps take out most of a
    displacement; they are no full relaxation.

    Args:
        adapter: Adapter of a potential.
        crystals: The crystals, which the potential can take.
        steps: Number of steps.
    """
    walkers = [_Walker(s, np.zeros((len(s) + 3, 3))) for s in crystals]
    for _ in track(range(steps), "relaxing crystals of the class"):
        found = predict(adapter, adapter.graphs([w.structure for w in walkers]), "one step")
        for walker, forces, stress in zip(walkers, found.forces, found.stress, strict=True):
            walker.step(forces, stress)
        walkers = [w for w in walkers if _whole(w.structure)]
    return [w.structure for w in walkers]


def _whole(structure: Structure) -> bool:
    """Whether a crystal has finite positions and has kept a plausible volume (A^3/atom)."""
    return bool(np.isfinite(structure.cart_coords).all() and 3 < structure.volume / len(structure) < 200)
