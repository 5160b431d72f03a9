"""Tables on disk: rows as CSV, embeddings as Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgl_fill.structures.read import StructureSet
from matgl_fill.utils.files import atomic_write


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; the columns are the first row's keys, unless they are given because there may be no row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def write_embedding(path: Path, pool: StructureSet, Z: np.ndarray, made_by: Mapping[str, str]) -> None:
    """Write one row per crystal (``id``, ``z0``, ``z1``, ...) or per atom (``atom`` after ``id``), atomically.

    Args:
        path: Parquet file; its folder is made if missing.
        pool: n crystals.
        Z: (n, dim) or (total atoms, dim) float32.
        made_by: what the file's metadata says under ``matgl_fill``.

    Raises:
        OSError: the file cannot be written.
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
