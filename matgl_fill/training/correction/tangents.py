"""Derivatives of atom embeddings and energies along displacements and strains, by forward differentiation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor
from torch.autograd import forward_ad

from matgl_fill.adapters import Adapter, evaluation_mode

ATOMS_AT_ONCE = 250
"""Number of atoms, over all copies of a crystal, that go through the model together."""


@dataclass(frozen=True)
class Tangents:
    """One crystal with its derivatives along q displacements of its atoms and p strains of its cell.

    Attributes:
        energy: Energy of the potential, eV.
        volume: Volume of the cell, cubic Angstrom.
        atoms: Atom embedding, (N, d).
        displacements: Unit vectors in 3N dimensions, (q, N, 3).
        strains: Symmetric strains of unit norm, (p, 3, 3).
        along: Derivatives of the embedding, (q + p, N, d), first along the displacements (per Angstrom).
        slopes: Derivatives of the energy, (q + p,), eV/Angstrom and eV.
    """

    energy: float
    volume: float
    atoms: np.ndarray
    displacements: np.ndarray
    strains: np.ndarray
    along: np.ndarray
    slopes: np.ndarray

    def __len__(self) -> int:
        """Number of atoms."""
        return len(self.atoms)


def random_directions(n: int, displacements: int, strains: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Orthonormal displacements (q, n, 3) of n atoms, 3n at most, and orthonormal symmetric strains (p, 3, 3)."""
    moves = np.linalg.qr(rng.normal(size=(3 * n, min(displacements, 3 * n))))[0].T.reshape(-1, n, 3)
    six = np.linalg.qr(rng.normal(size=(6, strains)))[0].T
    cell = np.zeros((strains, 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        cell[:, i, j] += six[:, k] / (1 if i == j else np.sqrt(2))
        cell[:, j, i] = cell[:, i, j]
    return torch.tensor(moves, dtype=torch.float32), torch.tensor(cell, dtype=torch.float32)


def tangents(
    adapter: Adapter, structure: Structure, displacements: int, strains: int, rng: np.random.Generator
) -> Tangents:
    """Calculate the derivatives of one crystal along random directions.

    Every direction is a copy of the crystal in a batch that is differentiated once, forwards. This is exact, and as
    many directions cost about three times as many plain passes. Backwards, every component of every atom's embedding
    would need a pass.

    Args:
        adapter: Adapter of a potential.
        structure: Crystal to differentiate.
        displacements: Number of directions in which atoms move.
        strains: Number of directions in which the cell is strained, 6 at most.
        rng: Generator that draws the directions.
    """
    graph = adapter.graph(structure)
    single = adapter.collate([graph])
    n = int(single.n_atoms[0])
    moves, cell = random_directions(n, displacements, strains, rng)
    q, p = len(moves), len(cell)
    moves, cell = moves.to(adapter.device), cell.to(adapter.device)
    moves, cell = torch.cat([moves, moves.new_zeros(p, n, 3)]), torch.cat([cell.new_zeros(q, 3, 3), cell])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("atoms", "along", "energy", "slopes")}
    with evaluation_mode(adapter.model), torch.no_grad(), forward_ad.dual_level():
        for rows in _chunks(q + p, max(1, ATOMS_AT_ONCE // n)):
            batch = adapter.collate([graph] * len(rows))
            move = forward_ad.make_dual(moves.new_zeros(len(rows) * n, 3), moves[rows].reshape(-1, 3))
            strain = forward_ad.make_dual(cell.new_zeros(len(rows), 3, 3), cell[rows])
            out = adapter.forward(replace(batch, displacement=move, strain=strain))
            for value, here, change in ((out.atoms, "atoms", "along"), (out.prediction, "energy", "slopes")):
                primal, tangent = forward_ad.unpack_dual(value)
                parts[here].append(primal.reshape(len(rows), -1)[0].cpu().double().numpy())
                parts[change].append(tangent.reshape(len(rows), -1).cpu().double().numpy())
    return Tangents(
        energy=float(parts["energy"][0][0]),
        volume=float(single.volume[0]),
        atoms=parts["atoms"][0].reshape(n, -1),
        displacements=moves[:q].cpu().double().numpy(),
        strains=cell[q:].cpu().double().numpy(),
        along=np.concatenate(parts["along"]).reshape(q + p, n, -1),
        slopes=np.concatenate(parts["slopes"])[:, 0],
    )


def _chunks(n: int, size: int) -> Iterator[list[int]]:
    for first in range(0, n, size):
        yield list(range(first, min(first + size, n)))
