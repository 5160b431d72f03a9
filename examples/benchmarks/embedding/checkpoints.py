"""Published models against the predictions of the MatGL that made them."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Lattice, Structure
from torch import nn

from examples.benchmarks.common.printing import console, print_table
from matgl_fill import load_model, read_structures
from matgl_fill.adapters import get_adapter
from matgl_fill.errors import MatglFillWarning, ModelError

BOX = 40.0
"""Edge of the cell (Angstrom) in which a molecule stands alone."""


@dataclass(frozen=True)
class CheckpointResult:
    """What :func:`matgl_fill.load_model` made of one published model.

    Attributes:
        name: Its folder, with the folder above.
        outcome: ``"as it is"``, ``"upgraded"``, ``"untold"`` or ``"refused"``.
        energy: Largest error of the prediction, eV/atom (potentials) or the model's own unit; None where nothing was
            published, or if it is refused.
        force: Largest error of a force component, eV/Angstrom; None where no forces were published.
        reason: Why it was refused, with the way out.
    """

    name: str
    outcome: str
    energy: float | None = None
    force: float | None = None
    reason: str = ""


def check_checkpoint(
    folder: Path, published: Sequence[Mapping[str, Any]], crystals: Mapping[str, Structure]
) -> CheckpointResult:
    """Load one model and compare it with what it predicted on the MatGL that made it.

    Args:
        folder: Folder of the model.
        published: Rows of ``prediction`` or ``energy_eV``, perhaps ``forces_eV_per_A`` or ``force0``, and the ``id`` of
            a crystal or ``numbers`` and ``positions`` of a molecule.
        crystals: Crystals by id.
    """
    name = f"{folder.parent.name}/{folder.name}"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = load_model(folder)
    except ModelError as error:
        return CheckpointResult(name, "refused", reason=str(error))
    said = [str(w.message) for w in caught if issubclass(w.category, MatglFillWarning)]
    outcome = "as it is" if not said else "untold" if "neither" in said[0] else "upgraded"
    return CheckpointResult(name, outcome, *(_errors(model, published, crystals) if published else (None, None)))


def _errors(
    model: nn.Module, published: Sequence[Mapping[str, Any]], crystals: Mapping[str, Structure]
) -> tuple[float, float | None]:
    adapter = get_adapter(model)
    structures = [crystals[row["id"]] if "id" in row else _molecule(row) for row in published]
    graphs = adapter.graphs(structures)
    n_atoms = np.array([len(s) for s in structures])
    wanted = np.array([row.get("energy_eV", row.get("prediction")) for row in published])
    _, y = adapter.embed_graphs(graphs)
    energy = float(np.abs(adapter.intensive(y, n_atoms) - adapter.intensive(wanted, n_atoms)).max())
    if not adapter.is_potential:
        return energy, None
    force = 0.0
    for graph, row in zip(graphs, published, strict=True):
        forces = np.atleast_2d(row["forces_eV_per_A"] if "forces_eV_per_A" in row else row["force0"])
        force = max(force, float(np.abs(adapter.forces([graph])[: len(forces)] - forces).max()))
    return energy, force


def _molecule(row: Mapping[str, Any]) -> Structure:
    """A molecule alone in a cell, where it was: elsewhere its coordinates round otherwise."""
    return Structure(Lattice.cubic(BOX), row["numbers"], row["positions"], coords_are_cartesian=True)


def check_checkpoints(
    folders: Sequence[Path], references: Sequence[Path], crystals: Mapping[str, Structure]
) -> list[CheckpointResult]:
    """:func:`check_checkpoint` of every model in ``folders``, by the rows of its name in the JSON files."""
    published: dict[str, Any] = {}
    for reference in references:
        published |= json.loads(reference.read_text())
    models = sorted(p.parent for folder in folders for p in folder.glob("*/model.json"))
    return [check_checkpoint(model, published.get(model.name, ()), crystals) for model in models]


def legacy(
    structures: Annotated[str, typer.Argument(help="Crystals that the predictions are of.")],
    models: Annotated[list[Path], typer.Option(help="Folder of models; several times for several.")],
    predictions: Annotated[list[Path], typer.Option(help="JSON of published predictions; several times for several.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="CSV to write.")] = None,
) -> None:
    """Every published model: as it is, upgraded or refused, and its largest error against its published predictions."""
    pool = read_structures(structures)
    results = check_checkpoints(models, predictions, dict(zip(pool.ids, pool.structures, strict=True)))
    header = ["model", "outcome", "energy (eV/atom)", "force (eV/A)"]
    shown = [[r.name, r.outcome, *("" if e is None else f"{e:.1e}" for e in (r.energy, r.force))] for r in results]
    print_table("largest errors", header, shown)
    for result in results:
        if result.reason:
            console.print(f"{result.name}: {result.reason}", highlight=False, markup=False)
    if out is not None:
        with out.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *shown])
