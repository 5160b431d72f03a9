"""Command line of the measurements."""

from __future__ import annotations

import platform
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.benchmarks.throughput import peak_memory_mb, throughput

app = typer.Typer(no_args_is_help=True, help="Measurements that the documentation quotes.")
console = Console(width=110)


@app.callback()
def _root() -> None:
    """Keep ``embed`` a subcommand."""


@app.command()
def embed(
    model: Annotated[str, typer.Argument(help="Model directory or hub name.")],
    structures: Annotated[str, typer.Argument(help="Crystals.")],
    n: Annotated[int, typer.Option(help="How many of them.")] = 2000,
    repeat: Annotated[int, typer.Option(help="Repeat the crystals this often, for the memory.")] = 1,
) -> None:
    """Crystals per second, graph building included, against MatGL's loader and one-at-a-time prediction."""
    loaded = load_model(model)
    adapter = get_adapter(loaded)
    found = read_structures(structures).structures
    usable = [s for s in found if adapter.problem(s) is None and not adapter.graph(s).isolated_atoms()][:n] * repeat
    rates = throughput(loaded, usable)
    table = Table(
        title=f"{adapter.name}: {len(usable)} crystals, {torch.get_num_threads()} threads, {platform.machine()}"
    )
    for name in ("way", "crystals", "seconds", "per second", "embed is faster by"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for rate in rates:
        factor = rates[0].per_second / rate.per_second
        table.add_row(rate.way, str(rate.crystals), f"{rate.seconds:.1f}", f"{rate.per_second:.0f}", f"{factor:.2f}")
    console.print(table)
    console.print(f"peak memory {peak_memory_mb():.0f} MB", highlight=False)


if __name__ == "__main__":
    app()
