"""Configurations and new members as the proposals for a potential."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matgl_fill.adapters import Adapter
from matgl_fill.embedding import Pool
from matgl_fill.generation.configurations import MAKERS
from matgl_fill.generation.configure import Configured
from matgl_fill.generation.select import Proposal, Selection, latent_unit
from matgl_fill.generation.targets import Targets
from matgl_fill.roughness import RoughnessResult
from matgl_fill.utils.scaling import Scaling


def displaced_members(adapter: Adapter, members: Sequence[Proposal], max_atoms: int, seed: int) -> list[Proposal]:
    """New members of the class with displaced atoms in strained cells; one that has no such configuration is dropped.

    Args:
        adapter: Adapter of the potential.
        members: New members, with their atoms at rest.
        max_atoms: Largest number of atoms.
        seed: Seed of all random choices.
    """
    rngs = [np.random.default_rng((seed, len(MAKERS), k)) for k in range(len(members))]
    made = MAKERS["displaced"](adapter, [p.structure for p in members], rngs, max_atoms)
    return [
        replace(
            p,
            structure=c.structure,
            moves=f"{p.moves}; {c.record}",
            kind="member",
            displacement=c.displacement,
            strain=c.strain,
        )
        for p, c in zip(members, made, strict=True)
        if c is not None
    ]


def assembled(
    adapter: Adapter,
    pool: Pool,
    roughness: RoughnessResult | None,
    made: Sequence[Configured],
    found: Selection | None,
    members: Sequence[Proposal],
) -> Selection:
    """Configurations and new members in one selection, whose first proposals hold every kind by its share.

    The targets are the crystals that have configurations, in the order in which they got them, then the search's own.

    Args:
        adapter: Adapter of the potential.
        pool: The pool.
        roughness: Roughness of the pool's embedding; None if the pool is too small.
        made: The configurations.
        found: Selection of the search for new members, if there was one.
        members: New members, displaced.
    """
    scaling = Scaling.of(pool.Z)
    unit = np.nan if roughness is None else latent_unit(scaling(pool.Z))
    rows = list(dict.fromkeys(c.row for c in made))
    local = np.full(len(rows), np.nan) if roughness is None else roughness.local(pool.Z[rows])
    number = {row: k for k, row in enumerate(rows)}
    proposals = [replace(p, target_row=len(rows) + p.target_row) for p in members]
    for c in made:
        one, k = c.configuration, number[c.row]
        proposals.append(
            Proposal(
                id="",
                structure=one.structure,
                parent=pool.ids[c.row],
                moves=one.record,
                target=pool.Z[c.row],
                target_row=k,
                distance=np.nan,
                roughness=float(local[k]),
                kind=c.kind,
                displacement=one.displacement,
                strain=one.strain,
            )
        )
    proposals = _mixed(proposals)
    Z = adapter.embed_graphs(adapter.graphs([p.structure for p in proposals]))[0]
    apart = np.linalg.norm(scaling(Z) - scaling(np.array([p.target for p in proposals])), axis=1) / unit
    proposals = [
        replace(p, id=f"fill-{k + 1:04d}", distance=float(d))
        for k, (p, d) in enumerate(zip(proposals, apart, strict=True))
    ]
    targets = Targets(pool.Z[rows], local)
    if found is not None:
        points, height = found.targets
        targets = Targets(np.vstack([targets.points, points]), np.concatenate([local, height]))
    refused = Counter[str]() if found is None else found.refused
    return Selection(proposals, targets, unit, refused, Counter[str]() if found is None else found.passed_over)


def _mixed(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Proposals in an order whose every beginning holds the kinds by their shares, so that it can be labelled alone."""
    total, seen = Counter(p.kind for p in proposals), Counter[str | None]()
    place = []
    for p in proposals:
        place.append((seen[p.kind] + 0.5) / total[p.kind])
        seen[p.kind] += 1
    return [proposals[i] for i in np.argsort(place, kind="stable")]
