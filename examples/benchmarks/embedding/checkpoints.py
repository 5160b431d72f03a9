"""Old checkpoints against the predictions that were published with them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Structure
from torch import nn

from examples.benchmarks.common.printing import console, print_table
from matgl_fill import load_model, read_structures
from matgl_fill.adapters import get_adapter
from matgl_fill.errors import MatglFillWarning, ModelError


@dataclass(frozen=True)
class CheckpointResult:
    """What :func:`matgl_fill.load_model` made of one checkpoint.

    Attributes:
        name: of its directory.
        outcome: ``"as it is"``, ``"upgraded"`` or ``"refused"``.
        energy: largest error of the prediction, eV/atom (potentials) or the model's own unit; None if refused.
        force: largest error of a force component, eV/Angstrom; None unless it is a potential.
        reason: why it was refused, with the way out.
    """

    name: str
    outcome: str
    energy: float | None = None
    force: float | None = None
    reason: str = ""


def check_checkpoint(
    folder: Path, published: Sequence[Mapping[str, Any]], crystals: Mapping[str, Structure]
) -> CheckpointResult:
    """Load one checkpoint and compare it with what it predicted when it was published.

    Args:
        folder: of the checkpoint.
        published: rows of ``id`` and ``prediction``, or ``energy_eV`` and ``forces_eV_per_A``.
        crystals: by id.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = load_model(folder)
    except ModelError as error:
        return CheckpointResult(folder.name, "refused", reason=str(error))
    upgraded = any(issubclass(w.category, MatglFillWarning) for w in caught)
    energy, force = _errors(model, published, crystals)
    return CheckpointResult(folder.name, "upgraded" if upgraded else "as it is", energy, force)


def _errors(
    model: nn.Module, published: Sequence[Mapping[str, Any]], crystals: Mapping[str, Structure]
) -> tuple[float, float | None]:
    adapter = get_adapter(model)
    graphs = adapter.graphs([crystals[row["id"]] for row in published])
    n_atoms = np.array([len(crystals[row["id"]]) for row in published])
    wanted = np.array([row.get("energy_eV", row.get("prediction")) for row in published])
    _, y = adapter.embed_graphs(graphs)
    energy = float(np.abs(adapter.intensive(y, n_atoms) - adapter.intensive(wanted, n_atoms)).max())
    if not adapter.is_potential:
        return energy, None
    pairs = zip(graphs, published, strict=True)
    return energy, max(float(np.abs(adapter.forces([g]) - row["forces_eV_per_A"]).max()) for g, row in pairs)


def check_checkpoints(folder: Path, reference: Path, crystals: Mapping[str, Structure]) -> list[CheckpointResult]:
    """:func:`check_checkpoint` of every model in ``folder`` that the JSON file ``reference`` has rows of."""
    published = json.loads(reference.read_text())
    names = sorted(p.parent.name for p in folder.glob("*/model.json"))
    return [check_checkpoint(folder / n, published[n], crystals) for n in names if n in published]


def legacy(
    checkpoints: Annotated[Path, typer.Argument(help="Folder of checkpoints.")],
    reference: Annotated[Path, typer.Argument(help="JSON of published predictions.")],
    structures: Annotated[str, typer.Argument(help="Crystals they are of.")],
) -> None:
    """Every old checkpoint: upgraded, refused or used as it is, and its error against published predictions."""
    pool = read_structures(structures)
    results = check_checkpoints(checkpoints, reference, dict(zip(pool.ids, pool.structures, strict=True)))
    shown = [[r.name, r.outcome, *("" if e is None else f"{e:.1e}" for e in (r.energy, r.force))] for r in results]
    print_table("largest errors", ["checkpoint", "outcome", "energy (eV/atom)", "force (eV/A)"], shown)
    for result in results:
        if result.reason:
            console.print(f"{result.name}: {result.reason}", highlight=False, markup=False)
