"""What a run's report says, from what the run measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from matgl_fill.adapters import Adapter
from matgl_fill.evaluation import Comparison
from matgl_fill.generation import Proposal
from matgl_fill.roughness import RoughnessResult
from matgl_fill.roughness.plots import project
from matgl_fill.training import Verdict
from matgl_fill.training.build import Made
from matgl_fill.utils.machine import machine_facts

MAP_POINTS = 4000
"""Pool crystals that a latent map shows at most."""


def headline(verdict: Verdict, comparison: Comparison | None, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Verdict of the guard in words, with mean and worst change.

    Args:
        verdict: of the guard.
        comparison: of the downstream tasks, if there are any.
        notes: what else did not go as it should.
    """
    failed = {a: names for a, names in verdict.tried.items() if names and a > verdict.alpha}
    reasons = [f"at weight {a:g}: {', '.join(names)} outside the budget" for a, names in failed.items()]
    reasons += notes
    if verdict.accepted:
        words = "accepted" if verdict.alpha == 1 else f"accepted, interpolated back to weight {verdict.alpha:g}"
    else:
        words = "not accepted: the original model is returned"
    worst = comparison.worst if comparison else None
    return {
        "accepted": verdict.accepted,
        "headline": words,
        "reasons": reasons,
        "alpha": verdict.alpha,
        "mean_change_percent": comparison.mean if comparison else None,
        "worst_task": worst.task if worst else None,
        "worst_change_percent": worst.change_percent if worst else None,
    }


def proposal_row(p: Proposal) -> dict[str, Any]:
    """One generated crystal as a plain row."""
    return {
        "id": p.id,
        "formula": p.structure.composition.reduced_formula,
        "parent": p.parent,
        "moves": p.moves,
        "distance": p.distance,
        "roughness": p.roughness,
    }


def run_facts(
    model: nn.Module,
    adapter: Adapter,
    accepted: Adapter,
    n_pool: int,
    n: int,
    seed: int,
    made: Made,
    stages: dict[str, float],
) -> dict[str, Any]:
    """What was run, on what, what became of the embedding, and how long each stage took."""
    added = f"original ⊕ tuned, {adapter.dim} + {accepted.dim - adapter.dim} dimensions"
    correction = accepted.core.correction if accepted.is_filled else None
    return {
        "model": type(model).__name__,
        "architecture": adapter.name,
        "n_pool": n_pool,
        "n": n,
        "seed": seed,
        "objective": [o.name for o in made.objectives] or ["correction"],
        "oracle": made.oracle,
        "embedding": added if accepted.dim > adapter.dim else f"{adapter.dim} dimensions",
        "correction": f"{correction.size[0]} environments" if correction else None,
        "wall_seconds": round(sum(stages.values()), 1),
        "stages": stages,
    } | machine_facts()


class Landscape(NamedTuple):
    """Roughness of a pool, the pool's embedding and that of the generated crystals."""

    roughness: RoughnessResult
    pool: np.ndarray
    crystals: np.ndarray


def roughness_table(before: Landscape, after: Landscape) -> list[dict[str, Any]]:
    """Frustration of the pool's landscape, and local roughness averaged over the pool and the new crystals."""
    columns = [
        {
            "frustration": x.roughness.frustration,
            "mean response (neighbour similarity)": x.roughness.response.mean(),
            "local roughness, pool mean": x.roughness.local(x.pool).mean(),
            "local roughness, generated crystals": x.roughness.local(x.crystals).mean(),
        }
        for x in (before, after)
    ]
    return [{"measure": m, "before": float(columns[0][m]), "after": float(columns[1][m])} for m in columns[0]]


def call_facts(**given: Any) -> dict[str, Any]:
    """The arguments of a call as plain values; an object that is neither number, text nor path leaves its type."""
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    return {k: v if isinstance(v, str | int | None) else {"type": type(v).__name__} for k, v in plain.items()}


def latent_plane(landscape: Landscape, targets: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """The latent map of a landscape as plain lists of four significant digits.

    Args:
        landscape: pool and generated crystals.
        targets: latent points that were to be filled.

    Returns:
        ``pool`` (n, 2), at most ``MAP_POINTS`` of it, evenly taken; ``roughness`` (n,); ``proposals`` (k, 2);
        ``targets`` (m, 2), each once; ``axes``, the names of the two.
    """
    shown = np.unique(np.linspace(0, len(landscape.pool) - 1, MAP_POINTS).astype(int))
    wanted = np.unique(np.array(targets), axis=0).reshape(-1, landscape.pool.shape[1])
    plane, (crystals, wanted), axes = project(landscape.pool, [landscape.crystals, wanted])
    return {
        "pool": _digits(plane[shown]),
        "roughness": _digits(landscape.roughness.local(landscape.pool[shown])),
        "targets": _digits(wanted),
        "proposals": _digits(crystals),
        "axes": list(axes),
    }


def _digits(values: np.ndarray) -> list[Any]:
    """As nested lists, rounded to four significant digits."""
    return np.vectorize(lambda x: float(f"{x:.4g}"), otypes=[float])(values).tolist()
