"""Proposed crystals as a folder of files, for those who have an electronic-structure code."""

from __future__ import annotations

import json
from collections import Counter
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
from matgl_fill.embedding import Pool
from matgl_fill.embedding.shards import ShardFolder
from matgl_fill.generation.charge import balance
from matgl_fill.generation.filters import NAMES
from matgl_fill.generation.propose import SearchRequest, propose_from
from matgl_fill.generation.select import Proposal, Selection
from matgl_fill.generation.start import SearchStart, search_start
from matgl_fill.roughness import RoughnessResult
from matgl_fill.roughness.plots import figure_bytes, projected_map
from matgl_fill.structures import StructureSet, csv_text, formulas_of, write_cifs, write_structures
from matgl_fill.utils.files import atomic_write, check_unused, remove_others
from matgl_fill.utils.machine import machine_facts
from matgl_fill.utils.scaling import Scaling

TOLERANCE = 0.01
"""Tolerance of the space group in Angstrom."""
BALANCE = {True: "balanced", False: "cannot be balanced", None: "no oxidation states"}
"""Result of :func:`~matgl_fill.generation.charge.balance` in words."""
CHECKPOINT = "search.partial"
"""File of an interrupted search in the folder of its proposals."""
WRITTEN = (
    "proposals.extxyz", "cif", "poscar", "proposals.csv", "targets.csv", "map.png", "map.svg", "summary.json",
)  # fmt: skip
"""What :meth:`ProposalsReport.save` writes."""


def check_free(out: str | Path, overwrite: bool) -> None:
    """Refuse a folder of finished proposals, unless they may be replaced; an interrupted search goes on.

    Raises:
        InputError: ``out`` holds files that would be replaced.
    """
    if not overwrite and not any(Path(out).glob(f"{CHECKPOINT}*")):
        check_unused(out, WRITTEN)


@dataclass(frozen=True)
class InputNames:
    """Names of the model and the crystals in the files.

    Attributes:
        model: Name of the model.
        structures: Name of the crystals.
        state: Fidelity index of multi-fidelity models.
    """

    model: str = ""
    structures: str = ""
    state: int | None = None


@dataclass(frozen=True)
class ProposalsReport:
    """Proposed crystals, ready to be written and shown.

    Attributes:
        start: Crystals from which they were proposed, and their roughness.
        selection: The proposals and their targets.
        Z: Embedding (k, dim) of the k proposals.
        request: Request for the search.
        names: Names of the model and the crystals.
    """

    start: SearchStart
    selection: Selection
    Z: np.ndarray
    request: SearchRequest
    names: InputNames

    @property
    def pool(self) -> Pool:
        """Crystals that the search knew."""
        return self.start.pool

    @property
    def roughness(self) -> RoughnessResult | None:
        """Roughness of all crystals; None if they are too few for one."""
        return self.start.roughness

    @cached_property
    def crystals(self) -> list[Structure]:
        """Proposals with the atoms of one element together, the most electropositive first."""
        return [p.structure.get_sorted_structure() for p in self.selection.proposals]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``proposals.csv``; latent distances in units of the pool's median between nearest neighbours.

        Configurations have their kind and amplitudes too. What a small pool has no value of is None.
        """
        targets, crystals = self._nearest(self.selection.targets.points), self._nearest(self.Z)
        return [
            {
                "id": p.id,
                **self._configuration(p),
                "formula": crystal.composition.reduced_formula,
                "n_atoms": len(crystal),
                "space_group": _space_group(crystal),
                "parent": p.parent,
                "moves": p.moves,
                "target": p.target_row,
                "target_nearest": targets[p.target_row][0],
                "distance": _known(p.distance),
                "roughness": _known(p.roughness),
                "charge": BALANCE[balance(crystal)],
                "nearest": nearest,
                "nearest_distance": _known(novelty),
            }
            for p, crystal, (nearest, novelty) in zip(self.selection.proposals, self.crystals, crystals, strict=True)
        ]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Rows of ``targets.csv``, the most wanted first; ``z0``, ``z1``, ... as ``matgl-fill embed`` names them."""
        formulas = dict(zip(self.pool.ids, formulas_of(self.pool.structures), strict=True))
        points, roughness = self.selection.targets
        found = self._nearest(points)
        return [
            {
                "target": t,
                "roughness": _known(float(rough)),
                "nearest": name,
                "formula": formulas[name],
                "distance": _known(distance),
            }
            | {f"z{j}": z for j, z in enumerate(points[t].tolist())}
            for t, (rough, (name, distance)) in enumerate(zip(roughness, found, strict=True))
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """Content of ``summary.json``."""
        distance, asked = [p.distance for p in self.selection.proposals], self.request
        settings = {"model": self.names.model, "n": asked.n, "seed": asked.seed} | asked.settings.model_dump()
        return {
            "proposals": len(distance),
            "kinds": dict(Counter(p.kind for p in self.selection.proposals if p.kind)),
            "targets": len(self.selection.targets.points),
            "median_distance": _known(float(np.median(distance))),
            "latent_unit": _known(self.selection.unit),
            "refused": {name: self.selection.refused[name] for name in NAMES},
            "passed_over": dict(sorted(self.selection.passed_over.items())),
            "frustration": None if self.roughness is None else self.roughness.frustration,
            "crystals": len(self.start.Z),
            "searched": len(self.pool),
            "skipped": [asdict(s) for s in self.pool.skipped],
            "settings": settings | {"structures": self.names.structures, "state": self.names.state},
        } | machine_facts()

    def plot_map(self) -> Figure | None:
        """Draw a latent map of the pool, coloured by local roughness, with targets and proposals.

        A pool that is too small for a roughness has none.
        """
        if self.roughness is None:
            return None
        marked = {"target": self.selection.targets.points, "proposal": self.Z}
        return projected_map(self.pool.Z, self.roughness.local, marked)

    def save(self, folder: str | Path) -> None:
        """Write crystals, tables, map and summary; every file is written whole or not at all.

        CIF and POSCAR files of earlier proposals in the folder are removed.

        Raises:
            OSError: A file cannot be written.
        """
        out, ids = Path(folder), [row["id"] for row in self.rows]
        provenance = ("id", "kind", "parent", "moves", "displacement", "strain", "distance", "roughness")
        facts = {"model": self.names.model, "seed": self.request.seed}
        frames = [{name: row[name] for name in provenance if name in row} | facts for row in self.rows]
        write_structures(self.crystals, out / "proposals.extxyz", info=frames)
        write_cifs(self.crystals, out / "cif", ids)
        for crystal, row in zip(self.crystals, self.rows, strict=True):
            text = Poscar(crystal, f"{row['id']} {row['formula']}").get_str(significant_figures=12)
            atomic_write(out / "poscar" / f"{row['id']}.vasp", text)
        remove_others((*out.glob("cif/fill-*.cif"), *out.glob("poscar/fill-*.vasp")), ids)
        atomic_write(out / "proposals.csv", csv_text(self.rows))
        atomic_write(out / "targets.csv", csv_text(self.targets))
        figure = self.plot_map()
        if figure is not None:
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
        for kind, count in self.summary["kinds"].items():
            table.add_row(f"proposed: {kind}", str(count))
        table.add_row("proposed", str(len(self.rows)))
        return table

    def _configuration(self, p: Proposal) -> dict[str, Any]:
        """Columns about a configuration; none for a property model."""
        told = {"kind": p.kind, "displacement": p.displacement, "strain": p.strain}
        return told if self.request.configurations else {}

    def _nearest(self, points: np.ndarray) -> list[tuple[str, float]]:
        """Id of the pool crystal nearest to each of (m, dim) latent points, and its distance."""
        scaling = Scaling.of(self.pool.Z)
        distance, row = cKDTree(scaling(self.pool.Z)).query(scaling(points))
        return [(self.pool.ids[i], float(d)) for i, d in zip(row, distance / self.selection.unit, strict=True)]


def report_proposals(
    adapter: Adapter, structures: StructureSet | ShardFolder, request: SearchRequest, names: InputNames
) -> ProposalsReport:
    """Propose crystals as :func:`matgl_fill.propose` does, and report on them.

    Args:
        adapter: Adapter of the model.
        structures: Crystals from which the search starts.
        request: Request for the search. The file of an interrupted search is left where it is.
        names: Names of the model and the crystals in the files.

    Raises:
        InputError: There are too few usable crystals, or the checkpoint is of another search.
        GenerationError: No valid crystal could be made.
    """
    start = search_start(adapter, structures, request.settings, request.n, request.seed)
    selection = propose_from(adapter, start, request)
    Z = adapter.embed_graphs(adapter.graphs([p.structure for p in selection.proposals]))[0]
    return ProposalsReport(start, selection, Z, request, names)


def _known(value: float) -> float | None:
    """A number, or None for one that is NaN."""
    return None if np.isnan(value) else value


def _space_group(structure: Structure) -> str:
    """Hermann-Mauguin symbol; empty where none is found."""
    try:
        return str(SpacegroupAnalyzer(structure, TOLERANCE).get_space_group_symbol())
    except SymmetryUndeterminedError:
        return ""
