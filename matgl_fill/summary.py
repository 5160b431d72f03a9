"""What a run's report says, from what the run measured."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from matgl_fill.adapters import Adapter
from matgl_fill.evaluate import Comparison
from matgl_fill.generate import Proposal
from matgl_fill.roughness import RoughnessResult
from matgl_fill.train import Verdict
from matgl_fill.train.setup import Made

PACKAGES = ("matgl", "torch", "pymatgen-core", "ase", "numpy", "scikit-learn")


def machine_facts() -> dict[str, Any]:
    """Versions of the packages that shape a result, and the machine."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
    return {"versions": {p: version(p) for p in PACKAGES}, "machine": machine}


def headline(verdict: Verdict, comparison: Comparison | None) -> dict[str, Any]:
    """Verdict of the guard in words, with mean and worst change."""
    failed = {a: names for a, names in verdict.tried.items() if names}
    reasons = [f"at weight {a:g}: {', '.join(names)} outside the budget" for a, names in failed.items()]
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
    return {
        "model": type(model).__name__,
        "architecture": adapter.name,
        "n_pool": n_pool,
        "n": n,
        "seed": seed,
        "objective": [o.name for o in made.objectives],
        "oracle": made.oracle,
        "embedding": added if accepted.dim > adapter.dim else f"{adapter.dim} dimensions",
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


def latent_plane(landscape: Landscape, proposals: list[Proposal]) -> dict[str, np.ndarray]:
    """First two principal components of pool, targets and proposals, and local roughness of the pool."""
    Z = landscape.pool
    mean = Z.mean(axis=0)
    axes = np.linalg.svd((Z - mean).astype(float), full_matrices=False)[2][:2].T
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    targets = np.unique(np.array([p.target for p in proposals]), axis=0)
    return {
        "pool": (Z - mean) @ axes,
        "roughness": landscape.roughness.local(Z),
        "targets": (targets - mean) @ axes,
        "proposals": (landscape.crystals - mean) @ axes,
    }
