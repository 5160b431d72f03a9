"""Gradient refinement: atoms and cell move until the crystal's embedding meets a latent target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase.data import covalent_radii
from pymatgen.core import Structure
from torch import Tensor

from matgl_fill.adapters import Adapter, Batch, Graph, evaluation_mode, in_threads
from matgl_fill.structures import neighbour_pairs, rebuilt
from matgl_fill.utils.scaling import Scaling

STAGES = 3
"""Number of times that the graph is built anew: its edges are those of the geometry it was built for."""
STEPS = 10
"""Number of steps of descent on one graph."""
FIRST = 0.01
"""Length of the first step, Angstrom."""
LONGEST = 0.1
"""Longest step, Angstrom."""
ARM = 5.0
"""Length in Angstrom by which strain is multiplied, to count like a displacement."""
CLEARANCE = 0.73
"""Fraction of the sum of covalent radii below which pairs are pushed apart; a little above the filter's."""
STIFFNESS = 1e3
"""Stiffness of that push, over the squared latent distance at the start."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of atoms that might come too close, for a batch of crystals.

    Attributes:
        i: First atom (p,) of each pair, as a row of the batch.
        j: Second atom (p,) of each pair.
        image: Lattice image (p, 3) of the second.
        crystal: Crystal (p,) in the batch.
        limit: Distance (p,) in Angstrom below which the atoms are pushed apart.
    """

    i: Tensor
    j: Tensor
    image: Tensor
    crystal: Tensor
    limit: Tensor

    @classmethod
    def of(cls, structures: Sequence[Structure], like: Tensor) -> Pairs:
        """Find the pairs within 1.5 times their limit; ``like`` gives type and device."""
        parts: list[list[np.ndarray]] = [[], [], [], [], []]
        start = 0
        for k, s in enumerate(structures):
            radii = covalent_radii[list(s.atomic_numbers)]
            i, j, image, d = neighbour_pairs(s, 1.5 * CLEARANCE * 2 * float(radii.max()))
            limit = CLEARANCE * (radii[i] + radii[j])
            near = d < 1.5 * limit
            rows = (i[near] + start, j[near] + start, image[near], np.full(near.sum(), k), limit[near])
            for part, row in zip(parts, rows, strict=True):
                part.append(row)
            start += len(s)
        arrays = [torch.as_tensor(np.concatenate(p), device=like.device) for p in parts]
        return cls(arrays[0].long(), arrays[1].long(), arrays[2].to(like), arrays[3].long(), arrays[4].to(like))

    def overlap(self, positions: Tensor, lattice: Tensor, count: int) -> Tensor:
        """Squared relative overlap (B,) of each crystal, for positions (N, 3) and lattices (B, 3, 3)."""
        shift = (self.image.unsqueeze(1) @ lattice[self.crystal]).squeeze(1)
        distance = (positions[self.j] + shift - positions[self.i]).norm(dim=1)
        over = torch.relu(1 - distance / self.limit) ** 2
        return over.new_zeros(count).index_add(0, self.crystal, over)


def refine(
    adapter: Adapter, structures: Sequence[Structure], targets: np.ndarray, scaling: Scaling[np.ndarray]
) -> list[list[Structure]]:
    """Bring the embedding of crystals nearer to their targets, by descent in atomic positions and strain.

    The squared distance between scaled embedding and target is minimised through the differentiable adapter, with the
    elements held, by descent with Barzilai-Borwein steps (doi 10.1093/imanum/8.1.141). Each crystal has one step
    length, which keeps the symmetry of the gradient. Atoms that come close are pushed apart. Every few steps the graph
    is built anew, since neighbours enter and leave the cutoff.

    Args:
        adapter: Adapter of the model, which is in evaluation mode here.
        structures: The n crystals to start from.
        targets: Latent targets (n, dim).
        scaling: Scaling of the latent space, in which distances are taken.

    Returns:
        The geometries of each crystal after every stage, first to last. Which of them is nearest has to be found by
        embedding them: with new neighbours the distance is not the one descended on.
    """
    trails: list[list[Structure]] = [[] for _ in structures]
    current = list(structures)
    goal = scaling(targets)
    for _ in range(STAGES):
        graphs = adapter.graphs(current)
        groups = adapter.groups(graphs)

        jobs = [([current[i] for i in group], [graphs[i] for i in group], goal[group]) for group in groups]

        def job(local: Adapter, item: tuple[list[Structure], list[Graph], np.ndarray]) -> list[Structure]:
            crystals, joined, goals = item
            return _descend(local, local.collate(joined), crystals, goals, scaling)

        with evaluation_mode(adapter.model):
            for group, moved in zip(groups, in_threads(adapter, job, jobs), strict=True):
                for i, crystal in zip(group, moved, strict=True):
                    current[i] = crystal
        for trail, crystal in zip(trails, current, strict=True):
            trail.append(crystal)
    return trails


def _descend(
    adapter: Adapter,
    batch: Batch,
    crystals: list[Structure],
    goal: np.ndarray,
    scaling: Scaling[np.ndarray],
) -> list[Structure]:
    """The nearest geometries of a batch's crystals on a path of descent on one graph."""
    n, lattice, owner = len(crystals), batch.lattice, batch.node_batch
    target = torch.as_tensor(goal, dtype=lattice.dtype, device=lattice.device)
    scaled = scaling.tensors(lattice.dtype, lattice.device)
    start = torch.as_tensor(np.concatenate([s.frac_coords for s in crystals])).to(lattice)
    pairs = Pairs.of(crystals, lattice)

    def geometry(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Displacement, strain, lattice and positions of coordinates (N + 3 B, 3)."""
        strain = x[len(start) :].reshape(n, 3, 3) / ARM
        strain = (strain + strain.transpose(1, 2)) / 2
        cell = lattice + lattice @ strain
        moved = x[: len(start)]
        return moved, strain, cell, (start.unsqueeze(1) @ cell[owner]).squeeze(1) + moved

    part = torch.cat([owner, torch.arange(n, device=owner.device).repeat_interleave(3)])

    def dot(a: Tensor, b: Tensor) -> Tensor:
        """Inner products (B,) of each crystal's coordinates."""
        return a.new_zeros(n).index_add(0, part, (a * b).sum(dim=1))

    x = lattice.new_zeros(len(part), 3)
    best, lowest, unit = x, torch.full_like(lattice[:, 0, 0], torch.inf), lattice.new_ones(())
    before: tuple[Tensor, Tensor] | None = None
    for _ in range(STEPS + 1):
        x.requires_grad_(True)
        moved, strain, cell, positions = geometry(x)
        embedding = adapter.forward(replace(batch, displacement=moved, strain=strain)).embedding
        apart = ((scaled(embedding) - target) ** 2).sum(dim=1)
        unit = apart.detach().clamp_min(1e-12) if before is None else unit
        loss = apart / unit + STIFFNESS * pairs.overlap(positions, cell, n)
        gradient = torch.autograd.grad(loss.sum(), x)[0]
        x, loss = x.detach(), loss.detach()
        better = loss < lowest
        lowest, best = torch.where(better, loss, lowest), torch.where(better[part, None], x, best)
        norm = dot(gradient, gradient).sqrt().clamp_min(1e-12)
        length = FIRST / norm
        if before is not None:
            s, y = x - before[0], gradient - before[1]
            length = dot(s, s) / dot(s, y).abs().clamp_min(1e-12)
        before = (x, gradient)
        x = x - torch.minimum(length, LONGEST / norm)[part, None] * gradient
    cells, places = (t.detach().cpu().double().numpy() for t in geometry(best.detach())[2:])
    parts = np.split(places, np.cumsum(batch.n_atoms.tolist())[:-1])
    return [rebuilt(s, c, p) for s, c, p in zip(crystals, cells, parts, strict=True)]
