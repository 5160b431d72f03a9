"""Command line of what roughness costs, and how far its modes agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import torch
import typer

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.printing import console, print_table
from examples.benchmarks.roughness.analysis import (
    Agreement,
    Mode,
    cost,
    field_agreements,
    growth,
    projected_agreement,
)
from matgl_fill import describe, embed, get_adapter, load_model, read_structures
from matgl_fill.roughness import graph_roughness
from matgl_fill.utils.console import track

COLUMNS = ("graph", "refined", "tree", "snapped", "resampled")
"""Of the agreement between graph and landscape mode."""


def roughness_command(
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
    print_table(f"rank correlation with landscape mode's local roughness at the data, {points} points", columns, rows)
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
    print_table(f"{mode} mode, {d} dimensions, {torch.get_num_threads()} threads: {done}", columns, rows)
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
    Z = embed(loaded, pool)
    response = graph_roughness(Z, describe(pool)).response
    usable = [d for d in dimensions if d <= min(Z.shape)]
    return [_agreement_row(f"{adapter.name}, {d}-d", [projected_agreement(Z, response, d)]) for d in usable]
