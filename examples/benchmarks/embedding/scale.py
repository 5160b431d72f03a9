"""What pools of any size cost: embedding into shards, and roughness over a folder of them."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.printing import print_table
from examples.benchmarks.roughness.analysis import synthetic_embedding
from matgl_fill import load_model
from matgl_fill.embedding.shards import ShardFolder, embed_shards
from matgl_fill.embedding.shards.manifest import SUMMARY, Manifest, ShardFacts, shard_path
from matgl_fill.embedding.shards.work import LABEL
from matgl_fill.roughness import graph_roughness
from matgl_fill.structures import bundled, csv_text
from matgl_fill.utils.files import atomic_write

T = TypeVar("T")
SHARD = 4096
DIMENSIONS = 128
MAXIMA = 100


@dataclass(frozen=True)
class ScaleCost:
    """One piece of work on a pool of a size, in a process of its own.

    Attributes:
        work: what was done.
        rows: crystals of the pool.
        seconds: wall time.
        cpu: processor time (s), of workers too.
        peak_mb: largest resident memory of the calling process so far, imports included.
        worker_mb: largest resident memory of a worker; 0 without workers.
        disk_mb: what was written or read.
    """

    work: str
    rows: int
    seconds: float
    cpu: float
    peak_mb: float
    worker_mb: float
    disk_mb: float


@contextmanager
def _timed(work: str, rows: int, folder: Path, found: list[ScaleCost]) -> Iterator[None]:
    """Append the cost of the block."""
    start, before = time.perf_counter(), _cpu()
    yield
    seconds, cpu = time.perf_counter() - start, _cpu() - before
    own, children = (resource.getrusage(who).ru_maxrss / 1024 for who in _WHO)
    disk = sum(file.stat().st_size for file in folder.glob("shard-*.parquet")) / 1e6
    found.append(ScaleCost(work, rows, seconds, cpu, own, children, disk))


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, _WHO))


def embedding_cost(rows: int, executor: str) -> list[ScaleCost]:
    """Cost of embedding the package's crystals, again and again, by the bundled model."""
    found: list[ScaleCost] = []
    model = load_model("default")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pool.jsonl.gz", Path(folder) / "Z"
        pool = bundled.bundled_pool(model.element_types)  # type: ignore[arg-type]
        lines = [json.dumps(s.as_dict()) + "\n" for s in pool]
        with gzip.open(source, "wt", compresslevel=1, encoding="utf-8") as file:
            file.writelines(islice(cycle(lines), rows))
        with _timed(f"embed, {executor}", rows, out, found):
            embed_shards(model, source, out, executor, SHARD)
        with _timed(f"embed, {executor}, all shards there", rows, out, found):
            embed_shards(model, source, out, executor, SHARD)
    return found


def roughness_cost(folder: Path) -> list[ScaleCost]:
    """Cost of graph mode on a folder of :func:`write_synthetic`, step by step."""
    found: list[ScaleCost] = []
    shards = ShardFolder(folder)
    rows = len(shards)
    with _timed("read the embedding", rows, folder, found):
        Z, response = shards.embedding, shards.label("response")
    with _timed("roughness: neighbours, network, frustration", rows, folder, found):
        result = graph_roughness(Z, response)
    with _timed(f"roughness: {MAXIMA} maxima", rows, folder, found):
        result.maxima(MAXIMA)
    with _timed("roughness: local roughness at 10,000 crystals", rows, folder, found):
        result.local(Z[:10_000])
    return found


def write_synthetic(rows: int, folder: Path) -> None:
    """Write a folder of shards without crystals, whose rows are those of :func:`synthetic_embedding`."""
    manifest = Manifest("", "synthetic", 0, version("matgl_fill"), "model", "last", None, "cpu", SHARD)
    manifest.enter(folder)
    Z, response = synthetic_embedding(rows, DIMENSIONS)
    number = 0
    for number, start in enumerate(range(0, rows, SHARD)):
        z, y = Z[start : start + SHARD].astype(np.float32), response[start : start + SHARD]
        row = pa.array(np.arange(start, start + len(z)))
        columns = {"row": row, "id": row.cast(pa.string()), "skipped": pa.nulls(len(z), pa.string())}
        columns |= {f"z{j}": pa.array(np.ascontiguousarray(z[:, j])) for j in range(z.shape[1])}
        facts = ShardFacts(manifest.key, "", len(z), 0)
        table = pa.table(columns | {LABEL + "response": pa.array(y)}).replace_schema_metadata(facts.metadata())
        pq.write_table(table, shard_path(folder, number), compression="zstd", use_dictionary=False)
    atomic_write(folder / SUMMARY, json.dumps({"manifest": manifest.key, "shards": number + 1}))


def _alone(job: Callable[..., T], *arguments: object) -> T:
    """Result of a job in a process of its own, so that peaks of memory are of one piece of work."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(job, *arguments).result()


def scale(
    embed: Annotated[str, typer.Option(help="Sizes of pools to embed.")] = "10000,100000",
    executor: Annotated[str, typer.Option(help="'here', 'processes:N', 'dask://HOST:PORT'.")] = "here",
    roughness: Annotated[str, typer.Option(help="Sizes of synthetic pools, 128 dimensions.")] = "10000,100000,1000000",
    csv: Annotated[Path | None, typer.Option(help="Append the rows to this file.")] = None,
) -> None:
    """Time, memory and growth of embedding into shards and of roughness over them."""
    for n in numbers(embed):
        _told(_alone(embedding_cost, n, executor), csv)
    for n in numbers(roughness):
        with tempfile.TemporaryDirectory() as folder:
            _alone(write_synthetic, n, Path(folder))
            _told(_alone(roughness_cost, Path(folder)), csv)


def _told(found: list[ScaleCost], csv: Path | None) -> None:
    """Print costs, and append them to a file."""
    columns = [field.name for field in fields(ScaleCost)]
    shown = [[f"{x:.4g}" if isinstance(x, float) else str(x) for x in asdict(c).values()] for c in found]
    print_table("", columns, shown)
    if csv is not None:
        text = csv.read_text(encoding="utf-8") if csv.exists() else ""
        rows = csv_text([dict(zip(columns, row, strict=True)) for row in shown])
        atomic_write(csv, text + (rows.split("\n", 1)[1] if text else rows))
