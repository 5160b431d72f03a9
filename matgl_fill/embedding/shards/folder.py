"""A folder of shards as a pool that need not fit in memory: embedding and names of all, crystals of those asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Lattice, Structure
from torch import nn

from matgl_fill.embedding.shards.manifest import SUMMARY, Manifest, shard_path
from matgl_fill.embedding.shards.work import LABEL
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, unique
from matgl_fill.structures.descriptors import names
from matgl_fill.utils.hashing import hash_model


class ShardFolder:
    """Folder of shards that :func:`matgl_fill.embed_shards` has finished.

    Its n rows are the crystals that were embedded, in the order of the file. Nothing is held but what was asked for;
    files are read memory-mapped, and a damaged page is an error.

    Args:
        folder: The folder.

    Attributes:
        path: The folder.
        manifest: Model, file and settings that it is of.
        shards: Number of shards.

    Raises:
        InputError: It is no such folder, or is not finished.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.manifest = Manifest.load(self.path)
        try:
            summary = json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))
            if summary["manifest"] != self.manifest.key:
                raise ValueError
            self.shards = int(summary["shards"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"'{folder}' is not finished; give the same call of embed again, which goes on."
            ) from error

    def check_model(self, model: nn.Module, state: int | None) -> None:
        """Check that a model is the one that embedded the crystals.

        Raises:
            InputError: It is another, or of another fidelity.
        """
        if hash_model(model) != self.manifest.model:
            raise InputError(f"'{self.path}' was embedded by another model; give that one, or embed by this one.")
        if state != self.manifest.state:
            raise InputError(
                f"'{self.path}' was embedded with state {self.manifest.state}, not {state}; give the same."
            )

    @staticmethod
    def is_one(folder: object) -> bool:
        """Whether an object is the path of a folder of shards, finished or not."""
        try:
            return isinstance(folder, str | Path) and any(Path(folder).glob("shard-*.parquet"))
        except (OSError, ValueError):  # a text that cannot be a path
            return False

    @staticmethod
    def skipped_of(path: Path) -> list[Skipped]:
        """Rows of a shard that were left out."""
        table = _table(path, ["row", "skipped"], used=False)
        source = Manifest.load(path.parent).source
        rows = zip(table["row"].to_pylist(), table["skipped"].to_pylist(), strict=True)
        return [Skipped(f"{source}:{row}", reason) for row, reason in rows]

    @cached_property
    def _lengths(self) -> np.ndarray:
        """Number of used rows of each shard."""
        return np.array([len(self._read(number, ["row"])) for number in range(self.shards)], dtype=int)

    def __len__(self) -> int:
        """Number n of crystals that were embedded."""
        return int(self._lengths.sum())

    @property
    def width(self) -> int:
        """Width of the embedding."""
        return len(self._embedded)

    @property
    def embedding(self) -> np.ndarray:
        """Embedding (n, dim), float32."""
        return self._matrix(self._embedded)

    @property
    def descriptors(self) -> np.ndarray:
        """Descriptors (n, k) of :func:`matgl_fill.describe`, float32."""
        return self._matrix(names())

    @cached_property
    def ids(self) -> list[str]:
        """Unique names of the n crystals."""
        return unique(self._column("id"))

    @cached_property
    def formulas(self) -> list[str]:
        """Reduced formulas of the n crystals."""
        return self._column("formula")

    @property
    def n_atoms(self) -> np.ndarray:
        """Numbers of atoms (n,)."""
        parts = [pa.compute.list_value_length(self._read(k, ["numbers"])["numbers"]) for k in range(self.shards)]
        return np.concatenate([np.asarray(part, dtype=int) for part in parts])

    @property
    def labels(self) -> list[str]:
        """Names of the numbers that some of the crystals carry."""
        found = dict.fromkeys(name for k in range(self.shards) for name in self._names(k))
        return [name.removeprefix(LABEL) for name in found if name.startswith(LABEL)]

    def label(self, name: str) -> np.ndarray:
        """One of :attr:`labels` (n,), NaN where a crystal has none."""
        column = LABEL + name
        parts = []
        for number, length in enumerate(self._lengths):
            there = column in self._names(number)
            parts.append(self._read(number, [column])[column].to_numpy() if there else np.full(length, np.nan))
        return np.concatenate(parts).astype(float)

    @property
    def skipped(self) -> list[Skipped]:
        """Rows of the file that were left out, with the reasons."""
        return [one for number in range(self.shards) for one in self.skipped_of(shard_path(self.path, number))]

    def structures(self, rows: Sequence[int] | np.ndarray) -> list[Structure]:
        """Read the crystals of some of the n rows, in that order.

        Raises:
            IndexError: There is no such row.
        """
        wanted = np.asarray(rows, dtype=int)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} are asked for; there are {len(self)} rows")
        starts = np.concatenate([[0], np.cumsum(self._lengths)])
        shard = np.searchsorted(starts, wanted, side="right") - 1
        found: dict[int, Structure] = {}
        for number in np.unique(shard).tolist():
            mine = np.unique(wanted[shard == number])
            table = self._read(number, ["lattice", "numbers", "frac_coords"]).take(mine - starts[number])
            crystals = (table[name].to_pylist() for name in table.column_names)
            for row, lattice, numbers, coords in zip(mine.tolist(), *crystals, strict=True):
                cell = Lattice(np.reshape(lattice, (3, 3)))
                found[row] = Structure(cell, numbers, np.reshape(coords, (-1, 3)))
        return [found[row].copy() for row in wanted.tolist()]

    @cached_property
    def _embedded(self) -> list[str]:
        """Names of the embedding's columns."""
        widest = max((self._names(k) for k in range(self.shards)), key=lambda found: len([*filter(_is_z, found)]))
        return list(filter(_is_z, widest))

    def _names(self, number: int) -> list[str]:
        return list(_opened(shard_path(self.path, number)).names)

    def _matrix(self, columns: Sequence[str]) -> np.ndarray:
        """Columns of all shards as one matrix, filled shard by shard."""
        matrix = np.empty((len(self), len(columns)), dtype=np.float32)
        start = 0
        for number, length in enumerate(self._lengths.tolist()):
            if length:
                table = self._read(number, list(columns))
                for j, name in enumerate(columns):
                    matrix[start : start + length, j] = table[name].to_numpy()
            start += length
        return matrix

    def _column(self, name: str) -> list[Any]:
        return [value for k in range(self.shards) for value in self._read(k, [name])[name].to_pylist()]

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        return _table(shard_path(self.path, number), columns, used=True)


def _is_z(name: str) -> bool:
    return name.startswith("z") and name[1:].isdigit()


def _opened(path: Path) -> pa.Schema:
    """Schema of a shard.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        return pq.read_schema(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is missing or damaged; remove it and give the same call of embed again.") from error


def _table(path: Path, columns: list[str], used: bool) -> pa.Table:
    """Columns of the rows of a shard that were used, or of those that were left out.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            table = file.read(list(dict.fromkeys([*columns, "skipped"])))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is missing or damaged; remove it and give the same call of embed again.") from error
    left_out = table["skipped"].is_valid()
    return table.filter(pa.compute.invert(left_out) if used else left_out).select(columns)
