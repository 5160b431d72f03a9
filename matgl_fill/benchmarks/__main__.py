"""Command line of the measurements."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.benchmarks.checkpoints import check_checkpoints
from matgl_fill.benchmarks.throughput import bounds, memory_growth_mb, throughput
from matgl_fill.io import StructureSet

app = typer.Typer(no_args_is_help=True, help="Measurements that the documentation quotes.")
console = Console(width=110)
PROFILED = 500
"""Crystals of the profile."""


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for j, name in enumerate(columns):
        table.add_column(name, justify="left" if j == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


@app.command()
def embed(
    model: Annotated[str, typer.Argument(help="Model directory or hub name.")],
    structures: Annotated[str, typer.Argument(help="Crystals.")],
    n: Annotated[int, typer.Option(help="How many of them.")] = 2000,
) -> None:
    """Crystals per second against MatGL's loader and one-at-a-time prediction, what bounds it, and peak memory."""
    loaded = load_model(model)
    adapter = get_adapter(loaded)
    found = read_structures(structures)
    usable = [i for i, s in enumerate(found) if adapter.problem(s) is None and not adapter.graph(s).isolated_atoms()]
    pool: StructureSet = found.subset(usable[:n])
    once, often = memory_growth_mb(loaded, pool)
    rates = throughput(loaded, pool)
    title = f"{adapter.name}: {len(pool)} crystals, {torch.get_num_threads()} threads, {platform.machine()}"
    rows = [
        [r.way, str(r.crystals), f"{r.seconds:.2f}", f"{r.per_second:.0f}", f"{rates[0].per_second / r.per_second:.2f}"]
        for r in rates
    ]
    _table(title, ["way", "crystals", "seconds", "per second", "embed is faster by"], rows)
    parts = bounds(loaded, pool.structures[:PROFILED])
    total = sum(seconds for _, seconds in parts)
    shares = [[part, f"{seconds:.2f}", f"{seconds / total:.0%}"] for part, seconds in parts]
    _table(f"one thread, {min(PROFILED, len(pool))} crystals", ["part", "seconds", "share"], shares)
    text = f"peak memory {once:.0f} MB after {len(pool)} crystals, {often:.0f} MB after {10 * len(pool)}"
    console.print(text, highlight=False)


@app.command()
def legacy(
    checkpoints: Annotated[Path, typer.Argument(help="Folder of checkpoints.")],
    reference: Annotated[Path, typer.Argument(help="JSON of published predictions.")],
    structures: Annotated[str, typer.Argument(help="Crystals they are of.")],
) -> None:
    """Every old checkpoint: upgraded, refused or used as it is, and its error against published predictions."""
    pool = read_structures(structures)
    results = check_checkpoints(checkpoints, reference, dict(zip(pool.ids, pool.structures, strict=True)))
    shown = [[r.name, r.outcome, *("" if e is None else f"{e:.1e}" for e in (r.energy, r.force))] for r in results]
    _table("largest errors", ["checkpoint", "outcome", "energy (eV/atom)", "force (eV/A)"], shown)
    for result in results:
        if result.reason:
            console.print(f"{result.name}: {result.reason}", highlight=False, markup=False)


if __name__ == "__main__":
    app()
