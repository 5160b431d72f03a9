"""Inputs and outputs of a model: graphs, batches and what a forward pass gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from matgl_fill.adapters.backends import backend


@dataclass
class Graph:
    """One crystal as the model sees it.

    Attributes:
        data: Graph of PyG or DGL as MatGL builds it.
        lattice: Lattice vectors (3, 3) in Angstrom, as rows.
        state: State attribute of the model, (k,) or a scalar.
    """

    data: Any
    lattice: Tensor
    state: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return int(backend.n_nodes(self.data))

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return len(backend.edges(self.data)[0])

    def isolated_atoms(self) -> list[int]:
        """Indices of atoms without any neighbour inside the cutoff."""
        degree = torch.bincount(backend.edges(self.data)[0], minlength=self.n_atoms)
        return torch.nonzero(degree == 0).flatten().tolist()


@dataclass
class Batch:
    """Several crystals joined for one model call.

    Attributes:
        data: Joined backend graph.
        lattice: Lattices (B, 3, 3) in Angstrom.
        state: State attributes (B, ...).
        node_batch: Crystal index (N,) of each atom.
        n_atoms: Number of atoms (B,) of each crystal.
        displacement: Cartesian displacement (N, 3) in Angstrom, differentiable if it requires grad.
        strain: Strain (B, 3, 3); the lattice becomes ``lattice @ (1 + strain)``.
        atom_weight: Weight in a loss of a mean over the batch's atoms, beside a mean over its crystals; it differs from
            1 where the batch is one process's part of a larger one.
    """

    data: Any
    lattice: Tensor
    state: Tensor
    node_batch: Tensor
    n_atoms: Tensor
    displacement: Tensor | None = None
    strain: Tensor | None = None
    atom_weight: float = 1.0

    def __len__(self) -> int:
        """Number of crystals."""
        return int(self.lattice.shape[0])

    def movable(self) -> Batch:
        """Copy the batch with zero displacement and strain that require grad."""
        n = int(self.node_batch.shape[0])
        return replace(
            self,
            displacement=torch.zeros(n, 3, dtype=self.lattice.dtype, device=self.lattice.device, requires_grad=True),
            strain=torch.zeros_like(self.lattice, requires_grad=True),
        )

    def placed(self) -> Any:
        """Backend graph with displaced atoms and strained cells; gradients reach displacement and strain."""
        lattice = self.lattice
        if self.strain is not None:
            strain = 0.5 * (self.strain + self.strain.transpose(1, 2))
            lattice = lattice + lattice @ strain
        node_lattice = lattice[self.node_batch]
        coordinates, offsets = backend.offsets(self.data)
        positions = (coordinates.to(lattice).unsqueeze(-1) * node_lattice).sum(dim=1)
        if self.displacement is not None:
            positions = positions + self.displacement
        edge_lattice = node_lattice[backend.edges(self.data)[0]]
        return backend.placed(self.data, positions, (offsets.to(lattice).unsqueeze(-1) * edge_lattice).sum(dim=1))

    @property
    def volume(self) -> Tensor:
        """Cell volumes (B,) in cubic Angstrom, without strain."""
        return torch.abs(torch.linalg.det(self.lattice))


@dataclass
class Output:
    """Output of one forward pass.

    Attributes:
        embedding: Structure embedding (B, dim).
        atoms: Atom embedding (N, dim_atom).
        prediction: Prediction (B,) of the model, in its own unit (eV for potentials).
        layers: Invariant atom features (N, k) after every block, if they were asked for.
    """

    embedding: Tensor
    atoms: Tensor
    prediction: Tensor
    layers: tuple[Tensor, ...] = ()


def sum_over_atoms(atoms: Tensor, batch: Batch) -> Tensor:
    """Sum (B, k) of atom features (N, k) over the atoms of each crystal."""
    return atoms.new_zeros(len(batch), atoms.shape[1]).index_add(0, batch.node_batch, atoms)


def mean_over_atoms(atoms: Tensor, batch: Batch) -> Tensor:
    """Mean (B, k) of atom features (N, k) over the atoms of each crystal."""
    return sum_over_atoms(atoms, batch) / batch.n_atoms.unsqueeze(1)


def mean_over_bonds(bonds: Tensor, batch: Batch) -> Tensor:
    """Mean (B, k) of bond features (E, k) over the bonds of each crystal."""
    crystal = batch.node_batch[backend.edges(batch.data)[0]]
    count = torch.bincount(crystal, minlength=len(batch)).clamp_min(1)
    return bonds.new_zeros(len(batch), bonds.shape[1]).index_add(0, crystal, bonds) / count.unsqueeze(1)
