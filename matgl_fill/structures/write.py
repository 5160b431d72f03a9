"""Crystals, rows and embeddings out: extended XYZ, CIF, CSV, Parquet."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter

from matgl_fill.errors import InputError
from matgl_fill.structures.sets import StructureSet, unique
from matgl_fill.utils.files import atomic_write

UNSAFE = re.compile(r"[^\w.+-]")
"""Characters that no file name should have."""
RESERVED = {"Lattice", "Properties", "pbc", "stress", "virial"}
"""Keys with a fixed meaning in extended XYZ."""


def write_structures(
    structures: Iterable[Structure], path: str | Path, info: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write structures as extended XYZ (gzipped if ``path`` ends in ``.gz``), atomically.

    Args:
        structures: Ordered structures; of a ``StructureSet`` the ids and labels are written too, unless ``info`` is
            given. Positions are written in Angstrom with 8 decimals.
        path: File to write; its folder is made if missing.
        info: Entries of each frame's comment line (same length); None values are left out.

    Raises:
        InputError: ``info`` has another length, or uses a key that extended XYZ reserves.
        OSError: The file cannot be written.
    """
    frames = list(structures)
    if info is None:
        info = structures.rows if isinstance(structures, StructureSet) else [{}] * len(frames)
    if len(info) != len(frames):
        raise InputError(f"{len(info)} info rows for {len(frames)} structures; give one for each.")
    if reserved := RESERVED & {key for row in info for key in row}:
        raise InputError(f"info key {sorted(reserved)} has a fixed meaning in extended XYZ; rename it.")
    if unsafe := {key for row in info for key in row if "=" in key}:
        raise InputError(f"info key {sorted(unsafe)} cannot be written to extended XYZ; leave '=' out of it.")
    buffer = io.StringIO()
    for structure, row in zip(frames, info, strict=True):
        cell = structure.lattice.matrix  # cart_coords would leave a cache in the caller's object
        atoms = Atoms(structure.atomic_numbers, structure.frac_coords @ cell, cell=cell, pbc=True)
        atoms.info = {key: info_value(v) for key, v in row.items() if v is not None}
        ase.io.write(buffer, atoms, format="extxyz")
    data = buffer.getvalue().encode()
    atomic_write(Path(path), gzip.compress(data, mtime=0) if Path(path).suffix == ".gz" else data)


def info_value(value: Any) -> Any:
    """Text that extended XYZ would read back as something else goes in as JSON (ase strips one level of backslash)."""
    words = {"t", "f", "true", "false", "nan", "inf", "infinity"}
    if not isinstance(value, str) or (re.fullmatch(r"[A-Za-z][\w.:+-]*", value, re.A) and value.lower() not in words):
        return value
    return "_JSON " + json.dumps(value).replace("\\", "\\\\")


def write_cifs(structures: Iterable[Structure], folder: str | Path, names: Sequence[str]) -> None:
    """Write each structure to ``folder/<name>.cif`` (P1, 8 decimals, sites sorted by element), atomically.

    Args:
        structures: The n structures.
        folder: Folder of the files; it is made if missing.
        names: The n file names, with or without ``.cif``; characters unsafe in a file name become ``_``.

    Raises:
        InputError: The number of names differs, or two names give the same file.
        OSError: A file cannot be written.
    """
    frames = list(structures)
    safe = [UNSAFE.sub("_", name.removesuffix(".cif")) for name in names]
    if len(safe) != len(frames):
        raise InputError(f"{len(safe)} names for {len(frames)} structures; give one for each.")
    if len(set(safe)) < len(safe) or "" in safe:
        raise InputError("names for CIF files must be non-empty and differ from each other (as file names).")
    for structure, name in zip(frames, safe, strict=True):
        with warnings.catch_warnings(action="ignore"):
            text = str(CifWriter(copy.deepcopy(structure)))
        atomic_write(Path(folder) / f"{name}.cif", text)


def file_names(names: Sequence[str]) -> list[str]:
    """Turn names into unique file names: characters unsafe in a file name become ``_``.

    >>> file_names(["a/b", "a_b", "c"])
    ['a_b', 'a_b_2', 'c']
    """
    return unique([UNSAFE.sub("_", name) for name in names])


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Format rows as CSV; the columns are the first row's keys, unless they are given because there may be no row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def write_embedding(path: Path, pool: StructureSet, Z: np.ndarray, made_by: Mapping[str, str]) -> None:
    """Write one row per crystal (``id``, ``z0``, ``z1``, ...) or per atom (``atom`` after ``id``), atomically.

    Args:
        path: Parquet file; its folder is made if missing.
        pool: The n crystals.
        Z: Embedding, (n, dim) or (total atoms, dim), float32.
        made_by: Entries of the file's metadata under ``matgl_fill``.

    Raises:
        OSError: The file cannot be written.
    """
    columns: dict[str, pa.Array] = {"id": pa.array(pool.ids)}
    if made_by["level"] == "atom":
        sizes = [len(s) for s in pool.structures]
        columns = {
            "id": pa.array(np.repeat(pool.ids, sizes)),
            "atom": pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in sizes])),
        }
    columns |= {f"z{j}": pa.array(np.ascontiguousarray(Z[:, j])) for j in range(Z.shape[1])}
    table = pa.table(columns).replace_schema_metadata({"matgl_fill": json.dumps(dict(made_by))})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    atomic_write(path, buffer.getvalue().to_pybytes())
