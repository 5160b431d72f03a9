"""What a worker does: a section of a file of crystals to a shard, as bytes of a Parquet file."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter, get_adapter
from matgl_fill.adapters.wrappers import copied
from matgl_fill.embedding.embed import Reading, rows_of
from matgl_fill.embedding.shards.manifest import BLOCK, Manifest, ShardFacts, ShardSettings
from matgl_fill.errors import ExecutorError
from matgl_fill.structures import Skipped, describe_structures, formulas_of
from matgl_fill.structures.convert import convert
from matgl_fill.structures.descriptors import names
from matgl_fill.structures.sets import reason_of
from matgl_fill.structures.streams import Section
from matgl_fill.utils.hashing import hash_model
from matgl_fill.utils.modes import usual_autograd

LABEL = "label "
"""What the names of labels begin with, to be told from other columns."""
NO_MEMORY = "can't allocate memory"
"""Words of PyTorch where memory is short on a CPU."""


@dataclass(frozen=True)
class Shard:
    """A shard that is made, not yet written.

    Attributes:
        number: Number of its section.
        data: Bytes of its file.
        facts: What it says of itself.
        skipped: Rows that were left out, with the reasons.
    """

    number: int
    data: bytes
    facts: ShardFacts
    skipped: list[Skipped]


@dataclass
class _Row:
    """One row of a file on its way to a shard."""

    where: str
    name: str
    structure: Structure | None = None
    labels: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    z: np.ndarray | None = None
    d: np.ndarray | None = None

    @classmethod
    def of(cls, where: str, item: Any) -> Self:
        """Read a row; one that cannot be read has the reason."""
        try:
            structure, name, labels = convert(item)
        except Exception as error:  # one bad crystal of any kind must not stop the others
            return cls(where, where, reason=reason_of(error))
        return cls(where, name or where, structure, labels)


@dataclass(frozen=True)
class Job:
    """All that a worker has to know: the model and what is read from it. It travels to every worker once.

    Attributes:
        model: The model, pickled.
        settings: What is computed.
        manifest: Manifest of the folder.
    """

    model: bytes
    settings: ShardSettings
    manifest: Manifest

    @staticmethod
    def of(model: nn.Module, settings: ShardSettings, manifest: Manifest) -> Job:
        """Job on a model, which stays as it is."""
        return Job(pickle.dumps(copied(model).cpu()), settings, manifest)

    def maker(self) -> ShardMaker:
        """What makes the shards, in this process.

        Raises:
            ExecutorError: The packages of this process make another model of it.
        """
        model: nn.Module = pickle.loads(self.model)
        if hash_model(model) != self.manifest.model:
            raise ExecutorError(
                "a worker has another version or backend of MatGL than this process; install the same on both."
            )
        return ShardMaker(get_adapter(model.to(self.settings.device), self.settings.state), self)


class ShardMaker:
    """Maker of shards in one process; several threads may ask it, it makes one after the other.

    Args:
        adapter: Adapter of the model.
        job: The job that it is made for.
    """

    def __init__(self, adapter: Adapter, job: Job) -> None:
        self._adapter, self._job = adapter, job
        self._reading = Reading("structure", job.settings.pooling, job.settings.layers)  # type: ignore[arg-type]
        self._lock = threading.Lock()

    def __call__(self, section: Section) -> Shard:
        """Make the shard of a section: read, embed and describe its crystals, block by block."""
        rows = [_Row.of(where, item) for where, item in section.items()]
        with self._lock, usual_autograd():
            for start in range(0, len(rows), BLOCK):
                self._embed([row for row in rows[start : start + BLOCK] if row.reason is None])
        skipped = [Skipped(row.where, row.reason) for row in rows if row.reason is not None]
        facts = ShardFacts(self._job.manifest.key, section.content, len(rows), len(skipped))
        return Shard(section.number, _file(rows, section.first, facts), facts, skipped)

    def _embed(self, rows: list[_Row]) -> None:
        """Embed and describe the crystals of a block, as far as the model can take them."""
        for row in rows:
            row.reason = self._adapter.unsupported_reason(_crystal(row))
        rows = [row for row in rows if row.reason is None]
        if not rows:
            return
        try:
            self._features(rows)
        except Exception as error:
            if _out_of_memory(error):
                raise
            for row in rows:  # alone, to find which of them it was
                try:
                    self._features([row])
                except Exception as reason:  # whatever a model raises for one crystal
                    row.reason = reason_of(reason)
        for row in rows:
            if row.reason is None and not (np.isfinite(row.z).all() and np.isfinite(row.d).all()):  # type: ignore[arg-type]
                row.reason = "its embedding is not finite"

    def _features(self, rows: list[_Row]) -> None:
        crystals = [_crystal(row) for row in rows]
        Z = rows_of(self._adapter, crystals, self._reading)
        D = describe_structures(crystals).astype(np.float32)
        for row, z, d in zip(rows, Z, D, strict=True):
            row.z, row.d = z, d


def _crystal(row: _Row) -> Structure:
    assert row.structure is not None
    return row.structure


def _out_of_memory(error: Exception) -> bool:
    """Whether it is the machine that failed, not a crystal."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY in str(error)


def _file(rows: Sequence[_Row], first: int, facts: ShardFacts) -> bytes:
    """A table with a line for every row: those that were left out have a reason, and no other values."""
    used = [row for row in rows if row.reason is None]
    crystals = [_crystal(row) for row in used]
    skipped = [row.reason for row in rows]
    index = np.cumsum([reason is None for reason in skipped]) - 1
    spread = pa.array(
        [int(i) if reason is None else None for i, reason in zip(index, skipped, strict=True)], pa.int64()
    )
    columns: dict[str, pa.Array] = {
        "row": pa.array(np.arange(first, first + len(rows))),
        "id": pa.array([row.name for row in rows], pa.string()),
        "skipped": pa.array(skipped, pa.string()),
    }
    inside: dict[str, pa.Array] = {"formula": pa.array(formulas_of(crystals), pa.string())}
    width = len(used[0].z) if used and used[0].z is not None else 0
    Z = np.stack([row.z for row in used]) if used else np.empty((0, width), dtype=np.float32)  # type: ignore[misc]
    D = np.stack([row.d for row in used]) if used else np.empty((0, len(names())), dtype=np.float32)  # type: ignore[misc]
    inside |= {f"z{j}": pa.array(np.ascontiguousarray(Z[:, j])) for j in range(width)}
    inside |= {name: pa.array(np.ascontiguousarray(D[:, j])) for j, name in enumerate(names())}
    for key in dict.fromkeys(key for row in used for key in row.labels):
        inside[LABEL + key] = pa.array([row.labels.get(key) for row in used], pa.float64())
    inside["lattice"] = pa.array([s.lattice.matrix.ravel() for s in crystals], pa.list_(pa.float64()))
    inside["numbers"] = pa.array([np.array(s.atomic_numbers, np.uint8) for s in crystals], pa.list_(pa.uint8()))
    inside["frac_coords"] = pa.array([s.frac_coords.ravel() for s in crystals], pa.list_(pa.float64()))
    columns |= {name: array.take(spread) for name, array in inside.items()}
    sink = pa.BufferOutputStream()
    table = pa.table(columns).replace_schema_metadata(facts.metadata())
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=["formula"], write_statistics=False, write_page_checksum=True
    )
    return sink.getvalue().to_pybytes()


_makers: dict[str, ShardMaker] = {}
"""Makers of this process, by the key of their manifest."""


def begin(job: Job) -> None:
    """Let this process make the shards of a job."""
    _makers[job.manifest.key] = job.maker()


def end(key: str) -> None:
    """Forget the job with this key."""
    _makers.pop(key, None)


def begin_process(job: Job) -> None:
    """Begin a process that makes shards of one job, on one thread, and ends with the process that began it."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin(job)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def make_shard(key: str, section: Section) -> Shard:
    """Make the shard of a section by the job with this key.

    Raises:
        ExecutorError: This process has no such job.
    """
    if key not in _makers:
        raise ExecutorError(
            "a worker does not know this job; it joined after the call had ended, or belongs to another call."
        )
    return _makers[key](section)
