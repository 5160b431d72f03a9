"""Roughness and novelty of a point of latent space, measured by the known crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from matgl_fill.adapters import Adapter, Graph, evaluation_mode
from matgl_fill.errors import InputError
from matgl_fill.roughness import RoughnessResult
from matgl_fill.utils.scaling import Scaling

SAME = 1e-3
"""Distance (standardised, per dimension) below which two points count as one."""
MAX_POINTS = 20_000
"""Largest number of points of known atoms that are kept, drawn at random with seed 0."""
SAMPLE = 2_000
"""Largest number of points on which the typical neighbour distance is measured."""


@dataclass(frozen=True)
class ReferenceSet:
    """Points of latent space by which others are measured: known crystals, or their atoms.

    Attributes:
        scaling: Scaling of latent coordinates to mean 0 and standard deviation 1 of the points.
        points: Standardised points, (m, d), double precision.
        unit: Median distance from a point to the nearest of another crystal, in standardised coordinates.
        levels: Local roughness at the points, (m,), in rising order.
    """

    scaling: Scaling[np.ndarray]
    points: Tensor
    unit: float
    levels: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, owner: np.ndarray, roughness: RoughnessResult) -> ReferenceSet:
        """Standardise latent points, drop repeated points of a crystal, and measure the rest.

        Args:
            Z: Latent points, (n, d).
            owner: Number of the crystal of each point, (n,).
            roughness: Roughness whose surface is evaluated at the points.

        Raises:
            InputError: All points of different crystals coincide.
        """
        Z = Z.astype(float)
        scaling = Scaling.of(Z, narrow=1.0)
        X = scaling(Z)
        _, distinct = np.unique(np.column_stack([owner, np.round(X / SAME)]), axis=0, return_index=True)
        order = np.random.default_rng(0).permutation(distinct)[:MAX_POINTS]
        points, crystal = torch.from_numpy(X[order]), torch.from_numpy(owner[order])
        distance = torch.cdist(points[:SAMPLE], points)
        distance[(crystal[:SAMPLE, None] == crystal) | (distance < SAME)] = torch.inf
        nearest = distance.min(dim=1).values
        nearest = nearest[torch.isfinite(nearest)]
        if not len(nearest):
            raise InputError("all known crystals have the same embedding; give a more varied pool.")
        return cls(scaling, points, float(nearest.median()), np.sort(roughness.local(Z[order])))

    def distance(self, Z: np.ndarray, others: Tensor | None = None) -> np.ndarray:
        """Distance (m,) of latent points (m, d) to the nearest point of the set, in units of ``unit``.

        Args:
            Z: Latent points, (m, d).
            others: Standardised points to which distances are measured instead of those of the set.
        """
        return (
            torch.cdist(self.standard(Z), self.points if others is None else others).min(dim=1).values.cpu().numpy()
            / self.unit
        )

    def standard(self, Z: np.ndarray) -> Tensor:
        """Latent points (m, d) in standardised coordinates."""
        return torch.from_numpy(self.scaling(Z))

    def percentile(self, local: np.ndarray) -> np.ndarray:
        """Share (m,) of the points of the set, 0 to 1, whose local roughness is not above the given one (m,)."""
        return np.searchsorted(self.levels, local, side="right") / len(self.levels)


class LatentReference:
    r"""The known crystals in a model's latent space, by which roughness and novelty of a point are measured.

    **Novelty** of a crystal with embedding z is the distance to the nearest known crystal over the distance that known
    crystals typically have from each other,

    .. math:: \nu(z) = \min_i \|x - x_i\| \,/\, \operatorname{median}_j \min_{i \ne j} \|x_j - x_i\|,
        \quad x = (z - \mu) / \sigma

    where μ and σ are mean and deviation of the pool in every dimension: 0 at a known crystal, 1 as far as known
    crystals are from each other. The novelty of an atom is the same over the known atoms, where the typical distance
    is to the nearest atom of another crystal; of several atoms of a crystal in one environment only one counts.

    **Roughness** is the share of known crystals (or atoms) whose local roughness
    (:meth:`matgl_fill.roughness.RoughnessResult.local`) is not above the one here: 0.9 is rougher than nine in ten.
    The roughness of atoms is read off the same surface. That has a meaning because the structure embedding of a
    potential is the mean of its atoms' embeddings: an atom stands where a crystal of such atoms would.

    The surface is a sum over points among the known crystals and falls to zero away from all of them. High roughness
    means that the model separates the crystals around a point badly, high novelty that there are none around it.

    Args:
        roughness: Roughness of the crystals' embedding.
        Z: Embedding of the known crystals, (n, d).
        atoms: Embedding of their atoms, (m, d).
        owner: The crystal of each atom, (m,).

    Raises:
        InputError: The roughness belongs to an embedding of another width.
    """

    def __init__(self, roughness: RoughnessResult, Z: np.ndarray, atoms: np.ndarray, owner: np.ndarray) -> None:
        roughness.check_width(Z.shape[1])
        self.roughness = roughness
        self.crystals = ReferenceSet.of(Z, np.arange(len(Z)), roughness)
        self.atoms = ReferenceSet.of(atoms, owner, roughness)

    def measure(self, z: np.ndarray, atoms: np.ndarray) -> dict[str, float | np.ndarray]:
        """Roughness and novelty of one crystal.

        Args:
            z: Structure embedding, (d,).
            atoms: Atom embedding, (N, d).

        Returns:
            ``roughness`` and ``novelty`` as numbers, ``roughness_per_atom`` and ``novelty_per_atom`` as (N,) arrays.
        """
        local = self.roughness.local(np.vstack([z[None], atoms]))
        return {
            "roughness": float(self.crystals.percentile(local[:1])[0]),
            "novelty": float(self.crystals.distance(z[None])[0]),
            "roughness_per_atom": self.atoms.percentile(local[1:]),
            "novelty_per_atom": self.atoms.distance(atoms),
        }


def embed_atoms(adapter: Adapter, graphs: Sequence[Graph]) -> tuple[np.ndarray, np.ndarray]:
    """Atom embedding (m, d) of crystals and the number (m,) of each atom's crystal, in evaluation mode, no gradient."""
    parts: list[np.ndarray] = [np.empty(0)] * len(graphs)
    with evaluation_mode(adapter.model), torch.no_grad():
        for index, batch in adapter.batches(graphs):
            atoms = adapter.forward(batch).atoms.cpu()
            for i, part in zip(index, torch.split(atoms, batch.n_atoms.tolist()), strict=True):
                parts[i] = part.cpu().numpy()
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(p) for p in parts])
