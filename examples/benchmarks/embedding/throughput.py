"""How fast crystals are embedded, against MatGL's own two ways, and what bounds it."""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
import typer
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset, collate_fn_graph
from pymatgen.core import Structure
from torch import nn
from torch.profiler import ProfilerActivity, profile

from examples.benchmarks.common.printing import console, print_table
from matgl_fill import load_model, read_structures
from matgl_fill.adapters import core_of, evaluation_mode, get_adapter
from matgl_fill.embedding import usable_crystals
from matgl_fill.embedding.embed import embed
from matgl_fill.structures import StructureSet

ONE_BY_ONE = 200
"""Crystals that are timed one at a time; the rate is what counts."""
BATCH = 64
PROFILED = 500
"""Crystals of the profile."""
OPERATORS = 6
"""Operators that the profile names."""


@dataclass(frozen=True)
class Rate:
    """Crystals per second of one way, graph building included."""

    way: str
    crystals: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Crystals per second."""
        return self.crystals / self.seconds


def throughput(model: nn.Module, pool: StructureSet) -> list[Rate]:
    """Rates of :func:`matgl_fill.embed`, of a plain MatGL loader loop, and of ``predict_structure`` one at a time.

    Args:
        model: property model or potential.
        pool: crystals, all of which the model can take; all three ways are given them in memory.
    """
    some = pool.structures[:ONE_BY_ONE]
    ways: list[tuple[str, int, Any]] = [
        ("matgl_fill.embed", len(pool), partial(embed, model, pool)),
        (f"MatGL loader, batch {BATCH}", len(pool), partial(_loader_loop, model, pool.structures)),
        ("predict_structure, one at a time", len(some), partial(_one_by_one, model, some)),
    ]
    embed(model, pool.subset(range(min(BATCH, len(pool)))))  # warm up
    rates = []
    for way, n, run in ways:
        start = time.perf_counter()
        run()
        rates.append(Rate(way, n, time.perf_counter() - start))
    return rates


def memory_growth_mb(model: nn.Module, pool: StructureSet, times: int = 10) -> tuple[float, float]:
    """Peak memory (MB) of this process after embedding ``pool``, and after ``times`` as many crystals.

    The crystals are the same objects again, so that only the embedding's own memory can grow; the result itself,
    ``times`` n rows of float32, is part of the second figure.
    """
    embed(model, pool)
    once = peak_memory_mb()
    embed(model, pool.subset(list(range(len(pool))) * times))
    return once, peak_memory_mb()


def bounds(model: nn.Module, crystals: Sequence[Structure]) -> list[tuple[str, float]]:
    """Seconds of one thread in graph building and in the operators that take longest, largest first.

    Args:
        model: property model or potential.
        crystals: all of which the model can take.
    """
    adapter = get_adapter(model)
    start = time.perf_counter()
    graphs = adapter.graphs(crystals)
    parts = [("graph building", time.perf_counter() - start)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with evaluation_mode(model), torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _, batch in adapter.batches(graphs):
                adapter.forward(batch)
    finally:
        torch.set_num_threads(threads)
    spent = [(e.key, e.self_cpu_time_total / 1e6) for e in profiled.key_averages()]
    spent.sort(key=lambda e: -e[1])
    rest = sum(seconds for _, seconds in spent[OPERATORS:])
    return [*parts, *spent[:OPERATORS], ("all other operators", rest)]


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _loader_loop(model: nn.Module, crystals: list[Structure]) -> None:
    """What MatGL's documentation does: dataset, loader, forward pass."""
    core = core_of(model)
    converter = Structure2Graph(element_types=core.element_types, cutoff=core.cutoff)
    labels = {"y": [0.0] * len(crystals)}
    with tempfile.TemporaryDirectory() as root:  # the dataset writes files of its own even without a cache
        data = MGLDataset(structures=crystals, converter=converter, labels=labels, save_cache=False, root=root)
    loader, _ = MGLDataLoader(data, data, collate_fn=collate_fn_graph, batch_size=BATCH, num_workers=0)
    joined = get_adapter(model)
    with torch.no_grad():
        for graph, lattice, state, _ in loader:
            batch = joined.joined(graph, lattice.reshape(-1, 3, 3), state)
            joined.forward(batch)


def _one_by_one(model: nn.Module, crystals: list[Structure]) -> None:
    predict: Any = core_of(model).predict_structure
    for crystal in crystals:
        predict(crystal)


def embed_command(
    model: Annotated[str, typer.Argument(help="Model directory or hub name.")],
    structures: Annotated[str, typer.Argument(help="Crystals.")],
    n: Annotated[int, typer.Option(help="How many of them.")] = 2000,
) -> None:
    """Crystals per second against MatGL's loader and one-at-a-time prediction, what bounds it, and peak memory."""
    loaded = load_model(model)
    adapter = get_adapter(loaded)
    found = read_structures(structures)
    usable = usable_crystals(adapter, found.ids, found.structures, graphs=True).rows
    pool: StructureSet = found.subset(usable[:n])
    once, often = memory_growth_mb(loaded, pool)
    rates = throughput(loaded, pool)
    title = f"{adapter.name}: {len(pool)} crystals, {torch.get_num_threads()} threads, {platform.machine()}"
    rows = [
        [r.way, str(r.crystals), f"{r.seconds:.2f}", f"{r.per_second:.0f}", f"{rates[0].per_second / r.per_second:.2f}"]
        for r in rates
    ]
    print_table(title, ["way", "crystals", "seconds", "per second", "embed is faster by"], rows)
    parts = bounds(loaded, pool.structures[:PROFILED])
    total = sum(seconds for _, seconds in parts)
    shares = [[part, f"{seconds:.2f}", f"{seconds / total:.0%}"] for part, seconds in parts]
    print_table(f"one thread, {min(PROFILED, len(pool))} crystals", ["part", "seconds", "share"], shares)
    text = f"peak memory {once:.0f} MB after {len(pool)} crystals, {often:.0f} MB after {10 * len(pool)}"
    console.print(text, highlight=False)
