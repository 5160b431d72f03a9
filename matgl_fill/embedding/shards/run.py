"""One call from a file of any size to a folder of shards, which goes on where it was stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from matgl_fill.adapters import get_adapter
from matgl_fill.embedding.embed import Layers, Pooling, check_words
from matgl_fill.embedding.shards.executors import check_executor, executor_of
from matgl_fill.embedding.shards.folder import ShardFolder
from matgl_fill.embedding.shards.manifest import BLOCK, SUMMARY, Manifest, ShardFacts, ShardSettings, shard_path
from matgl_fill.embedding.shards.work import Job, Shard
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped
from matgl_fill.structures.streams import Section, sections
from matgl_fill.utils.console import console
from matgl_fill.utils.files import atomic_write, check_writable
from matgl_fill.utils.hashing import hash_model
from matgl_fill.utils.machine import machine_facts
from matgl_fill.utils.validation import as_int

SHARD = 4096
"""Number of rows of a shard."""
TOLD = 100
"""Number of rows that were left out, with reasons, in the summary; the shards have all of them."""


def embed_shards(
    model: nn.Module,
    source: str | Path,
    folder: str | Path,
    executor: str = "here",
    shard_size: int = SHARD,
    pooling: Pooling = "model",
    layers: Layers = "last",
    state: int | None = None,
    device: str | None = None,
    progress: bool = False,
) -> ShardFolder:
    """Embed a file of any size into a folder of shards, each of them a Parquet file.

    The file is read as the work goes on and never held. Every shard is of a fixed number of its rows, written whole
    before it counts as done; the same call goes on from what is there. Rows have the same bits whatever the shards,
    the executor and the number of its workers, on machines that are alike. A worker that dies loses nothing: its shard
    is made again. Crystals that cannot be used are left out; the column ``skipped`` has the reason.

    Columns are ``row`` (in the file), ``id``, ``skipped``, ``formula``, the embedding ``z0``, ``z1``, ..., the
    descriptors of :func:`matgl_fill.describe` by their names, numbers that the row carries as ``label NAME``, and the
    crystal: ``lattice`` (9, Angstrom), ``numbers`` (atoms), ``frac_coords`` (3 atoms).

    Args:
        model: Any MatGL model that :func:`get_adapter` serves; it is left as it was.
        source: JSON lines (``.jsonl``, ``.jsonl.gz``) or Parquet, rows as :func:`matgl_fill.read_structures` takes
            them.
        folder: Folder of the shards, made if missing.
        executor: ``"here"`` for this process, ``"processes"`` or ``"processes:N"`` for several of this machine, one
            core each, or ``"dask://HOST:PORT"`` for the workers of a scheduler (extra ``scale``). A script that asks
            for processes needs the usual ``if __name__ == "__main__":``.
        shard_size: Number of rows of a shard, a multiple of 256.
        pooling: Pooling of atoms to a crystal, as in :func:`matgl_fill.embed`.
        layers: Layers that are read, as there.
        state: Fidelity index of multi-fidelity models.
        device: Device on which workers compute, for example ``"cuda"``; the model's own if not given.
        progress: Show a progress bar on a terminal.

    Returns:
        The folder, ready to be read.

    Raises:
        InputError: The file or an argument cannot be used, or the folder holds shards of another model, file or
            settings.
        ExecutorError: There is no scheduler, or all workers were lost; the same call goes on.
        OSError: A shard cannot be written.
    """
    check_words(pooling=pooling, layers=layers)
    check_executor(executor)
    adapter = get_adapter(model, state)
    size = as_int("shard_size", shard_size)
    if size < BLOCK or size % BLOCK:
        raise InputError(f"shard_size is {size}; give a multiple of {BLOCK}.")
    settings = ShardSettings(pooling, layers, state, device or str(adapter.device), size)
    check_writable(folder)
    path, out = Path(source), Path(folder)
    found = sections(path, size)
    first = next(found)  # refuses what cannot be read before anything is written
    kind = settings.device.partition(":")[0]
    facts = (hash_model(model), path.name, path.stat().st_size, version("matgl_fill"))
    manifest = Manifest(*facts, pooling, layers, state, kind, size)
    manifest.enter(out)
    work = _Work(out, manifest, progress)
    with work.bar:
        missing = work.missing(_chained(first, found))
        job = Job.of(model, settings, manifest)
        if (one := next(missing, None)) is not None:
            with executor_of(executor, job) as engine, closing(engine.shards(_chained(one, missing))) as made:  # type: ignore[type-var]
                for shard in made:
                    work.write(shard)
    work.finish()
    return ShardFolder(out)


def _chained(first: Section, rest: Iterator[Section]) -> Iterator[Section]:
    yield first
    yield from rest


@dataclass
class _Work:
    """The folder while it is filled: what is there, what is missing, and the progress bar.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        progress: Whether to draw a bar.
    """

    folder: Path
    manifest: Manifest
    progress: bool
    facts: dict[int, ShardFacts] = field(default_factory=dict)
    skipped: dict[int, list[Skipped]] = field(default_factory=dict)
    seconds: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        shown = self.progress and console.is_terminal
        columns = (
            TextColumn("embedding"),
            BarColumn(),
            TextColumn("{task.fields[shards]} shards"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, disable=not shown, transient=True)
        self._task = self.bar.add_task("", total=1.0, shards=0)
        self._share: dict[int, float] = {}

    def missing(self, found: Iterable[Section]) -> Iterator[Section]:
        """Sections whose shards are not there; the file is read as far as they are asked for."""
        last = 0.0
        for section in found:
            self._share[section.number], last = section.share - last, section.share
            done = self.manifest.done(shard_path(self.folder, section.number), section)
            if done is None:
                yield section
            else:
                self._done(section.number, done)

    def write(self, shard: Shard) -> None:
        """Write a shard, whole or not at all; then it counts."""
        atomic_write(shard_path(self.folder, shard.number), shard.data)
        self.skipped[shard.number] = shard.skipped
        self._done(shard.number, shard.facts)

    def _done(self, number: int, facts: ShardFacts) -> None:
        self.facts[number] = facts
        self.bar.update(self._task, advance=self._share[number], shards=len(self.facts))

    def finish(self) -> None:
        """Write the summary, which says that no shard is missing."""
        told: list[Skipped] = []
        for number in sorted(self.facts):
            if len(told) < TOLD and self.facts[number].skipped:
                told += self.skipped.get(number) or ShardFolder.skipped_of(shard_path(self.folder, number))
        summary = {
            "shards": len(self.facts),
            "rows": sum(one.rows for one in self.facts.values()),
            "skipped": sum(one.skipped for one in self.facts.values()),
            "first_skipped": [asdict(one) for one in told[:TOLD]],
            "seconds": round(time.perf_counter() - self.seconds, 2),
            "manifest": self.manifest.key,
        }
        atomic_write(self.folder / SUMMARY, json.dumps(summary | machine_facts(), indent=2) + "\n")
