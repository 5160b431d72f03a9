"""Proposed crystals as a folder of files, for those who have an electronic-structure code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from rich.table import Table
from scipy.spatial import cKDTree

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import Choice
from matgl_fill.embedding.pool import Pool, prepare_pool
from matgl_fill.generation import SearchRequest, Selection, propose_from
from matgl_fill.generation.charge import balance
from matgl_fill.generation.filters import NAMES
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.roughness.plots import WIDTH, draw_map, figure_bytes, house_style, project
from matgl_fill.structures import StructureSet, csv_text, write_cifs, write_structures
from matgl_fill.utils.files import atomic_write, remove_others
from matgl_fill.utils.machine import machine_facts

TOLERANCE = 0.01
"""Angstrom; of the space group."""
BALANCE = {True: "balanced", False: "cannot be balanced", None: "no oxidation states"}
CHECKPOINT = "search.partial"
"""File of an interrupted search in the folder of its proposals."""


@dataclass(frozen=True)
class ProposalsReport:
    """Proposed crystals, ready to be written and shown.

    Attributes:
        pool: what they were proposed from.
        roughness: of the pool's embedding.
        selection: the proposals and their targets.
        Z: (k, dim) embedding of the k proposals.
        settings: what was asked for; ``model`` and ``seed`` go into every frame of ``proposals.extxyz``.
    """

    pool: Pool
    roughness: RoughnessResult
    selection: Selection
    Z: np.ndarray
    settings: dict[str, Any]

    @cached_property
    def crystals(self) -> list[Structure]:
        """The proposals, atoms of one element together, the most electropositive first."""
        return [p.structure.get_sorted_structure() for p in self.selection.proposals]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``proposals.csv``; latent distances in units of the pool's median between nearest neighbours."""
        targets, known = self._nearest(self.selection.targets), self._nearest(self.Z)
        return [
            {
                "id": p.id,
                "formula": crystal.composition.reduced_formula,
                "n_atoms": len(crystal),
                "space_group": _space_group(crystal),
                "parent": p.parent,
                "moves": p.moves,
                "target": p.target_row,
                "target_nearest": targets[p.target_row][0],
                "distance": p.distance,
                "roughness": p.roughness,
                "charge": BALANCE[balance(crystal)],
                "nearest": nearest,
                "nearest_distance": novelty,
            }
            for p, crystal, (nearest, novelty) in zip(self.selection.proposals, self.crystals, known, strict=True)
        ]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Rows of ``targets.csv``, the most wanted first; ``z0``, ``z1``, ... as ``matgl-fill embed`` names them."""
        formulas = dict(zip(self.pool.ids, (s.composition.reduced_formula for s in self.pool.structures), strict=True))
        points, found = self.selection.targets, self._nearest(self.selection.targets)
        return [
            {"target": t, "roughness": float(rough), "nearest": name, "formula": formulas[name], "distance": distance}
            | {f"z{j}": z for j, z in enumerate(points[t].tolist())}
            for t, (rough, (name, distance)) in enumerate(zip(self.selection.roughness, found, strict=True))
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says."""
        distance = [p.distance for p in self.selection.proposals]
        return {
            "proposals": len(distance),
            "targets": len(self.selection.targets),
            "median_distance": float(np.median(distance)),
            "latent_unit": self.selection.unit,
            "refused": {name: self.selection.refused[name] for name in NAMES},
            "passed_over": dict(sorted(self.selection.passed_over.items())),
            "frustration": self.roughness.frustration,
            "crystals": len(self.pool.structures),
            "skipped": [asdict(s) for s in self.pool.skipped],
            "settings": self.settings,
        } | machine_facts()

    def plot_map(self) -> Figure:
        """Latent map of the pool, coloured by local roughness, with targets and proposals."""
        marked = {"target": self.selection.targets, "proposal": self.Z}
        plane, flat, labels = project(self.pool.Z, list(marked.values()))
        with house_style("proposals"):
            figure = Figure((WIDTH, 4.2), layout="constrained")
            draw_map(figure, plane, self.roughness.local(self.pool.Z), dict(zip(marked, flat, strict=True)), labels)
            figure.draw_without_rendering()
        return figure

    def save(self, folder: str | Path) -> None:
        """Write crystals, tables, map and summary; every file is written whole or not at all.

        CIF and POSCAR files of earlier proposals in the folder are removed.

        Raises:
            OSError: a file cannot be written.
        """
        out, ids = Path(folder), [row["id"] for row in self.rows]
        told = ("id", "parent", "moves", "distance", "roughness")
        facts = {name: self.settings[name] for name in ("model", "seed")}
        frames = [{name: row[name] for name in told} | facts for row in self.rows]
        write_structures(self.crystals, out / "proposals.extxyz", info=frames)
        write_cifs(self.crystals, out / "cif", ids)
        for crystal, row in zip(self.crystals, self.rows, strict=True):
            text = Poscar(crystal, f"{row['id']} {row['formula']}").get_str(significant_figures=12)
            atomic_write(out / "poscar" / f"{row['id']}.vasp", text)
        remove_others((*out.glob("cif/fill-*.cif"), *out.glob("poscar/fill-*.vasp")), ids)
        atomic_write(out / "proposals.csv", csv_text(self.rows))
        atomic_write(out / "targets.csv", csv_text(self.targets))
        figure = self.plot_map()
        atomic_write(out / "map.png", figure_bytes(figure, "png"))
        atomic_write(out / "map.svg", figure_bytes(figure, "svg"))
        atomic_write(out / "summary.json", json.dumps(self.summary, indent=2) + "\n")

    def __rich__(self) -> Table:
        """What became of the candidates, for the terminal."""
        table = Table("candidates", "count", title_justify="left")
        table.columns[1].justify = "right"
        for title, counts in (("refused", self.selection.refused), ("passed over", self.selection.passed_over)):
            for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                table.add_row(f"{title}: {name}", str(count))
        table.add_row("proposed", str(len(self.rows)))
        return table

    def _nearest(self, points: np.ndarray) -> list[tuple[str, float]]:
        """Id of the pool crystal nearest to each of (m, dim) latent points, and its distance."""
        origin, extent = self.pool.Z.mean(axis=0), np.maximum(self.pool.Z.std(axis=0), 1e-9)
        distance, row = cKDTree((self.pool.Z - origin) / extent).query((points - origin) / extent)
        return [(self.pool.ids[i], float(d)) for i, d in zip(row, distance / self.selection.unit, strict=True)]


def report_proposals(
    adapter: Adapter,
    structures: StructureSet,
    n: int = 100,
    seed: int = 0,
    choice: Choice = "roughness",
    checkpoint: Path | None = None,
    model: str = "",
) -> ProposalsReport:
    """Propose crystals as :func:`matgl_fill.propose` does, with all that is to be told about them.

    Args:
        adapter: of the model.
        structures: pool of known crystals.
        n: crystals wanted.
        seed: of all random choices.
        choice: of the targets.
        checkpoint: file from which an interrupted search goes on; left where it is.
        model: what the files call the model; its architecture if empty.

    Raises:
        InputError: too few usable crystals, or the checkpoint is of another search.
        GenerationError: no valid crystal could be made.
    """
    pool = prepare_pool(adapter, structures)
    rough = graph_roughness(pool.Z, pool.D)
    selection = propose_from(adapter, pool, rough, SearchRequest(n, seed, choice, checkpoint))
    Z = adapter.embed_graphs(adapter.graphs([p.structure for p in selection.proposals]))[0]
    settings = {"model": model or adapter.name, "n": n, "seed": seed, "choice": choice}
    return ProposalsReport(pool, rough, selection, Z, settings)


def _space_group(structure: Structure) -> str:
    """Hermann-Mauguin symbol; empty where none is found."""
    try:
        return str(SpacegroupAnalyzer(structure, TOLERANCE).get_space_group_symbol())
    except SymmetryUndeterminedError:
        return ""
