"""Crystals that the user brings instead of having them searched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.embedding.pool import usable_graphs
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.roughness import RoughnessResult
from matgl_fill.structures import Skipped, unique
from matgl_fill.training import Labels, read_labelled
from matgl_fill.utils.hashing import hash_structure


@dataclass(frozen=True)
class Given:
    """Crystals to learn from.

    Attributes:
        proposals: the crystals.
        labels: theirs, if they came with any.
        skipped: what was left out, and why.
    """

    proposals: list[Proposal]
    labels: Labels | None
    skipped: list[Skipped]

    def key(self) -> str:
        """SHA-256 of crystals and labels."""
        digest = hashlib.sha256()
        for p in self.proposals:
            digest.update(hash_structure(p.structure, p.id))
        if self.labels is not None:
            for array in (self.labels.energy, *self.labels.forces, self.labels.stress):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def labelled_crystals(adapter: Adapter, roughness: RoughnessResult, source: Any) -> Given:
    """Labelled crystals that the model can take; the target of each is where it lies.

    Args:
        adapter: of the model.
        roughness: of the pool's embedding.
        source: as in :func:`matgl_fill.training.read_labelled`.

    Raises:
        InputError: none can be used.
    """
    found = read_labelled(source)
    keep, graphs, skipped = _usable(adapter, found.ids, found.structures, "labelled crystal")
    structures = [found.structures[i] for i in keep]
    Z = adapter.embed_graphs(graphs)[0]
    rows = zip(keep, structures, Z, roughness.local(Z).tolist(), strict=True)
    proposals = [Proposal(found.ids[i], s, "", "labelled", z, k, 0.0, r) for k, (i, s, z, r) in enumerate(rows)]
    return Given(_renamed(proposals), found.labels.subset(keep), [*found.skipped, *skipped])


def proposed_crystals(adapter: Adapter, roughness: RoughnessResult, proposals: Sequence[Proposal]) -> Given:
    """Proposals that the model can take; those of another model aim here at where they lie.

    Raises:
        InputError: something else is among them, or none can be used.
    """
    if wrong := [p for p in proposals if not isinstance(p, Proposal)]:
        raise InputError(f"proposals hold a {type(wrong[0]).__name__}; give what matgl_fill.propose returns.")
    ids, structures = [p.id for p in proposals], [p.structure for p in proposals]
    keep, graphs, skipped = _usable(adapter, ids, structures, "proposal")
    kept = [proposals[i] for i in keep]
    if any(len(p.target) != adapter.dim for p in kept):
        Z = adapter.embed_graphs(graphs)[0]
        places = zip(kept, Z, roughness.local(Z).tolist(), strict=True)
        kept = [replace(p, target=z, distance=0.0, roughness=r) for p, z, r in places]
    return Given(_renamed(kept), None, skipped)


def _usable(
    adapter: Adapter, ids: Sequence[str], structures: Sequence[Structure], kind: str
) -> tuple[list[int], list[Graph], list[Skipped]]:
    """As :func:`matgl_fill.embedding.pool.usable_graphs`; none at all is an error."""
    keep, graphs, skipped = usable_graphs(adapter, ids, structures)
    if not keep:
        first = f"; first: {skipped[0].reason}" if skipped else ": there is none"
        raise InputError(f"no {kind} that {adapter.name} can take{first}.")
    return keep, graphs, skipped


def given_crystals(
    adapter: Adapter, roughness: RoughnessResult, proposals: Sequence[Proposal] | None, labelled: Any
) -> Given | None:
    """What was given of proposals and labelled crystals; None if neither was."""
    if labelled is not None:
        return labelled_crystals(adapter, roughness, labelled)
    return None if proposals is None else proposed_crystals(adapter, roughness, proposals)


def _renamed(proposals: Sequence[Proposal]) -> list[Proposal]:
    """The same with ids that are all different: frames of one crystal have its id, two searches count from one."""
    names = unique([p.id for p in proposals])
    return [replace(p, id=name) for p, name in zip(proposals, names, strict=True)]
