"""Files of crystals in every format that is mutated."""

from __future__ import annotations

import functools
import gzip
import io
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

import matgl_fill as mf
from matgl_fill.structures import bundled

FORMATS = (
    "one.cif", "three.cif", "POSCAR", "one.vasp", "three.extxyz", "three.xyz.gz", "as_dict.json", "rows.json",
    "rows.jsonl", "rows.jsonl.gz", "as_dicts.json.gz", "three.db", "matbench.json.gz", "named.json", "answer.json.gz",
    "labelled.extxyz",
)  # fmt: skip
"""Names of the files that are mutated."""


@functools.cache
def crystals() -> tuple[Structure, ...]:
    """Three small crystals of the package, which all files hold."""
    pool = mf.read_structures(bundled.ASSETS / "crystals_pool.jsonl.gz")
    return tuple([s for s in pool if 3 <= len(s) <= 8][:3])


def written(name: str, crystals: list[Structure], folder: Path) -> bytes:
    """Bytes of a file of that name with the crystals, of which some formats hold one."""
    path = folder / name
    if name.endswith(".cif"):
        some = crystals[:1] if name.startswith("one") else crystals
        text = "\n".join(str(CifWriter(s)).replace("data_", f"data_{k}_") for k, s in enumerate(some))
        return text.encode()
    if name in ("POSCAR", "one.vasp"):
        return Poscar(crystals[0]).get_str().encode()
    frames = [AseAtomsAdaptor.get_atoms(s, msonable=False) for s in crystals]
    if "xyz" in name:
        buffer = io.StringIO()
        for k, atoms in enumerate(frames):
            atoms.info = {"id": f"c{k}", "gap": 1.5}
            if name.startswith("labelled"):
                rng = np.random.default_rng(k)
                results = {"energy": -3.5 - k, "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6)}
                atoms.calc = SinglePointCalculator(atoms, **results)
            ase.io.write(buffer, atoms, format="extxyz")
        return zipped(name, buffer.getvalue().encode())
    if name.endswith(".db"):
        with connect(path) as rows:
            for k, atoms in enumerate(frames):
                rows.write(atoms, gap=1.5, name=f"c{k}")
        return path.read_bytes()
    return zipped(name, _json(name, [_row(name, k, s) for k, s in enumerate(crystals)]))


def _row(name: str, k: int, s: Structure) -> Any:
    if name.startswith(("as_dict", "named")):
        return s.as_dict()
    if name.startswith("matbench"):
        return [s.as_dict(), 1.5 + k]
    if name.startswith("answer"):
        return {"material_id": f"mp-{k}", "structure": s.as_dict(), "band_gap": 1.5}
    plain = {"lattice": s.lattice.matrix.tolist(), "species": [e.symbol for e in s.species]}
    return {"id": f"c{k}", "structure": plain | {"frac_coords": s.frac_coords.tolist()}, "gap": 1.5 + k}


def _json(name: str, rows: list[Any]) -> bytes:
    if ".jsonl" in name:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    whole: Any = rows[0] if name == "as_dict.json" else rows
    if name.startswith("matbench"):
        whole = {"index": [f"mb-{k}" for k in range(len(rows))], "columns": ["structure", "gap"], "data": rows}
    elif name.startswith("answer"):
        whole = {"data": rows, "meta": {"total_doc": len(rows)}}
    elif name.startswith("named"):
        whole = {f"mp-{k}": row for k, row in enumerate(rows)}
    return json.dumps(whole, indent=1).encode()


def zipped(name: str, data: bytes) -> bytes:
    """Bytes of a file of that name, compressed if it says so."""
    return gzip.compress(data, mtime=0) if name.endswith(".gz") else data


def unzipped(name: str, data: bytes) -> bytes:
    """What :func:`zipped` was given."""
    return gzip.decompress(data) if name.endswith(".gz") else data
