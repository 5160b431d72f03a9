"""Command line of the measurements."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from examples.benchmarks.common.options import numbers
from examples.benchmarks.embedding.checkpoints import check_checkpoints
from examples.benchmarks.embedding.throughput import bounds, memory_growth_mb, throughput
from examples.benchmarks.evidence import commands as evidence
from examples.benchmarks.evidence import finetuning
from examples.benchmarks.generation import decoding, moves, relaxation
from examples.benchmarks.potentials import calculator, distillation, heating, labels, physics
from examples.benchmarks.roughness import measures
from examples.benchmarks.roughness.analysis import Agreement, Mode, cost, field_agreements, growth, projected_agreement
from matgl_fill import describe, get_adapter, load_model, read_structures
from matgl_fill import embed as embed_structures
from matgl_fill.embedding.pool import graph_or_problem
from matgl_fill.roughness import graph_roughness
from matgl_fill.structures import StructureSet
from matgl_fill.utils.console import track

app = typer.Typer(no_args_is_help=True, help="Measurements that the documentation quotes.")
app.add_typer(measures.app, name="measures")
app.add_typer(evidence.app, name="evidence")
app.command()(moves.draws)
app.command()(decoding.decode)
app.command()(relaxation.relax)
app.command()(physics.physics)
app.command()(labels.teach)
app.command()(finetuning.finetune)
app.command("distil")(distillation.distil_command)
app.command()(heating.heating)
app.command()(calculator.calculator)
console = Console(width=120)
PROFILED = 500
"""Crystals of the profile."""
COLUMNS = ("graph", "refined", "tree", "snapped", "resampled")
"""Of the agreement between graph and landscape mode."""


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
    usable = [i for i, s in enumerate(found) if not isinstance(graph_or_problem(adapter, s), str)]
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


@app.command()
def roughness(
    graph: Annotated[str, typer.Option(help="Points of graph mode, 128 dimensions.")] = "1250,2500,5000,20000,100000",
    landscape: Annotated[str, typer.Option(help="Points of landscape mode, 16 dimensions.")] = "150,300,600",
    dimensions: Annotated[str, typer.Option(help="Of the agreement between the modes.")] = "2,3,4,16,64,128",
    points: Annotated[int, typer.Option(help="Of the agreement.")] = 300,
    fields: Annotated[int, typer.Option(help="Random fields for each dimension.")] = 8,
    model: Annotated[str | None, typer.Option(help="Also agree over principal components of its embedding ...")] = None,
    structures: Annotated[str | None, typer.Option(help="... of these crystals.")] = None,
) -> None:
    """Cost of roughness with the number of points, and agreement of graph mode with landscape mode."""
    _cost_table("graph", numbers(graph), 128)
    _cost_table("landscape", numbers(landscape), 16)
    rows = [_agreement_row(f"fields, {d}-d", field_agreements(d, points, fields)) for d in numbers(dimensions)]
    if model and structures:
        rows += _embedding_rows(model, structures, points, numbers(dimensions))
    if not rows:
        return
    columns = ["data", "fields", *COLUMNS, "minima", "seconds"]
    _table(f"rank correlation with landscape mode's local roughness at the data, {points} points", columns, rows)
    console.print(
        "graph, refined: the two graph modes. tree: landscape mode without the passes that join no two components; "
        "snapped: moved to the nearest data points; resampled: with as many further points. Mean and, in brackets, "
        "lowest, over the fields with more than one basin. minima, seconds: landscape/graph/refined. Of embeddings, "
        "the principal components. Refined graph mode shares landscape mode's surface.",
        highlight=False,
    )


def _cost_table(mode: Mode, sizes: list[int], d: int) -> None:
    if not sizes:
        return
    costs = [cost(mode, n, d) for n in track(sizes, f"{mode} mode")]
    rows = [
        [str(c.n), f"{c.seconds:.2f}", f"{c.cpu:.2f}", f"{c.peak_mb:.0f}", *map(str, (c.basins, c.vectors, c.found))]
        for c in costs
    ]
    columns = ["points", "seconds", "processor s", "peak MB", "minima", "vectors", "maxima"]
    done = "frustration, local roughness at all points, 100 maxima"
    _table(f"{mode} mode, {d} dimensions, {torch.get_num_threads()} threads: {done}", columns, rows)
    if len(costs) > 1:
        grown = f"seconds grow as n^{growth(costs):.2f}, between the two largest as n^{growth(costs[-2:]):.2f}"
        console.print(grown, highlight=False)


def _agreement_row(name: str, found: Iterable[Agreement]) -> list[str]:
    """Means over the fields that have more than one basin."""
    each = list(found)
    shown = []
    for column in COLUMNS:
        values = np.array([a.correlation.get(column, np.nan) for a in each])
        values = values[np.isfinite(values)]
        shown.append(f"{values.mean():.2f} ({values.min():.2f})" if len(values) else "")
    minima, seconds = (np.mean(x, axis=0) for x in ([a.minima for a in each], [a.seconds for a in each]))
    defined = sum(np.isfinite(a.correlation["graph"]) for a in each)
    last = "/".join(f"{m:.0f}" for m in minima), "/".join(f"{s:.1f}" for s in seconds)
    return [name, f"{defined} of {len(each)}", *shown, *last]


def _embedding_rows(model: str, structures: str, points: int, dimensions: list[int]) -> list[list[str]]:
    """Agreement over principal components of a model's embedding of the first crystals that it takes."""
    loaded = load_model(model)
    adapter = get_adapter(loaded)
    found = read_structures(structures)
    pool = found.subset([i for i, s in enumerate(found) if adapter.unsupported_reason(s) is None][:points])
    Z = embed_structures(loaded, pool)
    response = graph_roughness(Z, describe(pool)).response
    usable = [d for d in dimensions if d <= min(Z.shape)]
    return [_agreement_row(f"{adapter.name}, {d}-d", [projected_agreement(Z, response, d)]) for d in usable]


if __name__ == "__main__":
    app()
