"""Crystals that the user supplies instead of having them searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.roughness import RoughnessResult
from matgl_fill.structures import Skipped, unique
from matgl_fill.training.labels import LabelKeys, LabelledCrystals, Labels, read_labelled
from matgl_fill.training.request import FillRequest
from matgl_fill.utils.hashing import hash_parts, hash_structure


@dataclass(frozen=True)
class SuppliedCrystals:
    """Crystals to train on that came with the call.

    Attributes:
        proposals: The crystals as proposals.
        labels: Labels of the crystals, if they came with any.
        skipped: Crystals that were left out, and why.
    """

    proposals: list[Proposal]
    labels: Labels | None
    skipped: list[Skipped]

    def fingerprint(self) -> str:
        """Hash of crystals and labels."""
        parts: list[Any] = [hash_structure(p.structure, p.id) for p in self.proposals]
        if self.labels is not None:
            parts += [self.labels.energy, *self.labels.forces, self.labels.stress]
        return hash_parts(*parts)


def supplied_crystals(
    request: FillRequest, roughness: RoughnessResult | None, proposals: Sequence[Proposal] | None, labelled: Any
) -> SuppliedCrystals | None:
    """The proposals or labelled crystals of a call; None if there are neither.

    Args:
        request: What was asked for: the model, and the names of the labels.
        roughness: Roughness of the pool's embedding; None if the pool is too small to have one.
        proposals: Proposals of :func:`matgl_fill.propose`, or None.
        labelled: Labelled crystals, as in :func:`matgl_fill.training.read_labelled`, or None.

    Raises:
        InputError: None of the crystals can be used.
    """
    if labelled is not None:
        training = request.settings.training
        keys = LabelKeys(training.energy_key, training.forces_key, training.stress_key)
        return _labelled_crystals(request.adapter, roughness, read_labelled(labelled, keys))
    return None if proposals is None else _proposed_crystals(request.adapter, roughness, proposals)


def _labelled_crystals(
    adapter: Adapter, roughness: RoughnessResult | None, found: LabelledCrystals
) -> SuppliedCrystals:
    """Labelled crystals that the model can take; the target of each is where it lies."""
    keep, graphs, skipped = _usable(adapter, found.ids, found.structures, "labelled crystal")
    structures = [found.structures[i] for i in keep]
    Z = adapter.embed_graphs(graphs)[0]
    rows = zip(keep, structures, Z, _local(roughness, Z), strict=True)
    proposals = [Proposal(found.ids[i], s, "", "labelled", z, k, 0.0, r) for k, (i, s, z, r) in enumerate(rows)]
    return SuppliedCrystals(_renamed(proposals), found.labels.subset(keep), [*found.skipped, *skipped])


def _proposed_crystals(
    adapter: Adapter, roughness: RoughnessResult | None, proposals: Sequence[Proposal]
) -> SuppliedCrystals:
    """Proposals that the model can take; those of another model aim here at where they lie."""
    if wrong := [p for p in proposals if not isinstance(p, Proposal)]:
        raise InputError(f"proposals hold a {type(wrong[0]).__name__}; give what matgl_fill.propose returns.")
    ids, structures = [p.id for p in proposals], [p.structure for p in proposals]
    keep, graphs, skipped = _usable(adapter, ids, structures, "proposal")
    kept = [proposals[i] for i in keep]
    if any(len(p.target) != adapter.dim for p in kept):
        Z = adapter.embed_graphs(graphs)[0]
        points = zip(kept, Z, _local(roughness, Z), strict=True)
        kept = [replace(p, target=z, distance=0.0, roughness=r) for p, z, r in points]
    return SuppliedCrystals(_renamed(kept), None, skipped)


def _local(roughness: RoughnessResult | None, Z: np.ndarray) -> list[float]:
    """Local roughness at latent points (n, d); NaN where the pool is too small to have one."""
    return [float("nan")] * len(Z) if roughness is None else roughness.local(Z).tolist()


def _usable(
    adapter: Adapter, ids: Sequence[str], structures: Sequence[Structure], kind: str
) -> tuple[list[int], list[Graph], list[Skipped]]:
    """Crystals that a model can take, as :func:`matgl_fill.embedding.usable_crystals`; an error if there are none."""
    usable = usable_crystals(adapter, ids, structures, graphs=True)
    if not usable.rows:
        if not usable.skipped:
            raise InputError(f"there is no {kind}; give at least one.")
        first = usable.skipped[0]
        raise InputError(f"{adapter.name} can take no {kind}; first: {first.where}: {first.reason}.")
    return usable.rows, usable.graphs, usable.skipped


def _renamed(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Proposals with unique ids: frames of one crystal share its id, and two searches both count from one."""
    names = unique([p.id for p in proposals])
    return [replace(p, id=name) for p, name in zip(proposals, names, strict=True)]
