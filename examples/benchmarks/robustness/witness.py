"""What files of crystals say by other readers than the package's, and what they declare beside their sites."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.db import connect
from pymatgen.core import Composition, Lattice, Structure

TOLERANCE = 2e-3
"""Relative of volumes, and of distances in Angstrom; the formats keep six decimals or more."""


@dataclass(frozen=True)
class Facts:
    """A crystal by what does not depend on how it is written: sorted elements, volume, all distances, and labels."""

    elements: tuple[str, ...]
    volume: float
    distances: np.ndarray
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, cell: Any, elements: Sequence[str], fractional: Any) -> Facts:
        """Facts of a cell (3, 3) in Angstrom with elements and fractional coordinates (n, 3)."""
        matrix = np.asarray(cell, dtype=float).reshape(3, 3)
        frac = np.asarray(fractional, dtype=float).reshape(-1, 3)
        frac = frac - np.floor(frac)
        order = sorted(range(len(elements)), key=lambda k: elements[k])
        all_distances = Lattice(matrix).get_all_distances(frac, frac)
        return cls(
            tuple(sorted(elements)), abs(float(np.linalg.det(matrix))), np.sort(all_distances[order][:, order].ravel())
        )

    @classmethod
    def of_structure(cls, s: Structure) -> Facts:
        """Facts of a structure."""
        return cls.of(s.lattice.matrix, [site.specie.symbol for site in s], s.frac_coords)

    def labelled(self, energy: Any, forces: Any, stress: Any) -> Facts:
        """The same crystal with labels: energy, norms of the forces, all of the stress."""
        norms = np.linalg.norm(np.asarray(forces, dtype=float).reshape(-1, 3), axis=1)
        parts = (np.ravel(energy), np.sort(norms), np.ravel(stress))
        return replace(self, labels=np.concatenate(parts).astype(float))

    def differs(self, other: Facts) -> str:
        """What another crystal has that this one has not; empty if they are the same."""
        if self.elements != other.elements:
            return f"{_formula(self.elements)}, not {_formula(other.elements)}"
        if np.isnan(self.volume + other.volume):  # open somewhere: how much vacuum is there does not matter
            return ""
        if abs(self.volume - other.volume) > TOLERANCE * other.volume:
            return f"volume {self.volume:.6g}, not {other.volume:.6g}"
        if (worst := float(np.abs(self.distances - other.distances).max(initial=0))) > TOLERANCE * 5:
            return f"a distance differs by {worst:.3g} A"
        if self.labels.shape != other.labels.shape or not np.allclose(
            self.labels, other.labels, 1e-6, 1e-6, equal_nan=True
        ):
            return f"labels {self.labels[:1]}, not {other.labels[:1]}"
        return ""


def _formula(elements: Sequence[str]) -> str:
    return Composition({e: elements.count(e) for e in elements}).formula.replace(" ", "") if elements else "nothing"


def read(path: Path) -> list[Facts]:
    """All crystals of a file by ASE's readers, or by plain JSON.

    Raises:
        Exception: Of any kind, where that reader finds nothing or fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = path.name.removesuffix(".gz")
        if name.endswith(".db"):
            with connect(path) as rows:
                return [_of_atoms(row.toatoms()) for row in rows.select()]
        text = _text(path)
        if name.endswith((".json", ".jsonl")):
            found = (
                [json.loads(text)] if name.endswith(".json") else [json.loads(x) for x in text.split("\n") if x.strip()]
            )
            return [_of_row(row) for row in (_rows(found[0]) if len(found) == 1 else found)]
        plain = path.with_name("witness")
        kind = "cif" if name.endswith(".cif") else "extxyz" if name.endswith("xyz") else "vasp"
        if kind == "vasp":  # which knows no isotopes of hydrogen
            lines = text.split("\n")
            text = "\n".join([*lines[:5], *(re.sub(r"\b[DT]\b", "H", line) for line in lines[5:6]), *lines[6:]])
        plain.write_text(text, encoding="utf-8")
        with plain.open(encoding="utf-8") as file:
            frames = ase.io.read(file, index=":", format=kind)
        return [_with_labels(a) if name.startswith("labelled") else _of_atoms(a) for a in frames]


def _text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig", errors="replace")


def _of_atoms(atoms: Atoms) -> Facts:
    if not atoms.cell.rank == 3 or "X" in atoms.get_chemical_symbols():
        raise ValueError("no crystal")
    if not atoms.pbc.all():
        return Facts(tuple(sorted(atoms.get_chemical_symbols())), np.nan, np.zeros(0))
    return Facts.of(np.array(atoms.cell), atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False))


def _with_labels(atoms: Atoms) -> Facts:
    results = atoms.calc.results if atoms.calc else {}
    nothing = np.full((len(atoms), 3), np.nan)
    stress = atoms.get_stress(voigt=False) if "stress" in results else np.full((3, 3), np.nan)
    return _of_atoms(atoms).labelled(results["energy"], results.get("forces", nothing), stress)


def _rows(data: Any) -> list[Any]:
    """Rows of a list, of one crystal, of a table, of an answer of a database, or of crystals by their names."""
    if isinstance(data, list):
        return data
    if "structure" in data or "sites" in data or "lattice" in data:
        return [data]
    if "columns" in data:
        return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
    return data["data"] if "data" in data else list(data.values())


def _of_row(row: Any) -> Facts:
    row = row.get("structure", row)
    if "sites" in row:
        elements = [_element(site["species"][0]["element"]) for site in row["sites"]]
        return Facts.of(row["lattice"]["matrix"], elements, [site["abc"] for site in row["sites"]])
    return Facts.of(row["lattice"], [_element(s) for s in row["species"]], row["frac_coords"])


def _element(symbol: Any) -> str:
    if isinstance(symbol, int) and not isinstance(symbol, bool):
        return chemical_symbols[symbol]
    if str(symbol).isdecimal():
        return chemical_symbols[int(symbol)]
    if symbol in ("D", "T"):  # isotopes of hydrogen
        return "H"
    plain = re.fullmatch(r"([A-Z][a-z]?)\d*[+-]?", str(symbol))
    if plain is None or plain[1] not in chemical_symbols[1:]:
        raise ValueError(f"no element '{symbol}'")
    return plain[1]


def contradicted(path: Path, found: Facts) -> str:
    """What the file declares of a crystal beside its sites and the crystal has not; empty if it does not contradict.

    A CIF declares a formula and a volume. A POSCAR's first line is a comment that people do not keep up, and what
    pymatgen's JSON says twice (lengths beside the matrix, Cartesian beside fractional coordinates) it reads once.
    """
    text = _text(path) if not path.name.endswith(".db") else ""
    if ".cif" in path.name:
        declared = re.findall(r"(?m)^\s*_chemical_formula_sum\s+['\"]?([A-Za-z0-9. ]+?)['\"]?\s*$", text)
        sums = [_reduced(d) for d in declared]
        if sums and all(sums) and _reduced(_formula(found.elements)) not in sums:
            return f"formula sum {', '.join(declared)}, but {_formula(found.elements)}"
        volumes = [float(v) for v in re.findall(r"(?m)^\s*_cell_volume\s+(\d+\.?\d*)", text)]
        if volumes and all(abs(v - found.volume) > 0.01 * found.volume for v in volumes):
            return f"volume {volumes}, but {found.volume:.6g}"
    return ""


def _reduced(formula: str) -> str:
    try:
        return str(Composition(formula.replace(" ", "")).reduced_formula)
    except Exception:  # no formula
        return ""
