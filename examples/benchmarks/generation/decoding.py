"""How near decoding comes to latent targets, and whether it finds crystals again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from pymatgen.core import Structure
from pymatgen.core.structure_matcher import StructureMatcher

from examples.benchmarks.common.printing import console, print_table
from examples.benchmarks.common.rows import Lines
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.config.config import SearchConfig
from matgl_fill.embedding import Pool, prepare_pool, usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.generation.candidate import Candidate
from matgl_fill.generation.decoder import Decoder
from matgl_fill.roughness import graph_roughness

MAX_ATOMS = SearchConfig().max_atoms
"""Crystals of more atoms are left alone by the search."""
PERCENTILES = (10, 25, 50, 75, 90)
BEST = 5
"""Candidates among which the withheld crystal may be."""


@dataclass(frozen=True)
class Decoded:
    """What became of one kind of targets.

    Attributes:
        kind: of targets.
        search: (n,) latent distance of the nearest candidate before refinement, over that of the nearest pool crystal;
            NaN where there is no candidate.
        refined: (n,) the same after refinement by gradient.
        found: for each target its candidates, nearest first.
        passes: crystals through the model, with gradient and without.
        refused: crystals that each filter refused.
        seconds: wall time.
        processor: processor time, seconds.
    """

    kind: str
    search: np.ndarray
    refined: np.ndarray
    found: list[list[Candidate]]
    passes: Counter[str]
    refused: Counter[str]
    seconds: float
    processor: float


def counting(adapter: Adapter) -> tuple[Adapter, list[tuple[str, int]]]:
    """The same adapter, and a list that grows by (kind, crystals) with every pass through it or its replicas."""
    passes: list[tuple[str, int]] = []
    served: Any = type(adapter)

    class Counted(served):
        def forward(self, batch: Batch, layers: bool = False) -> Output:
            passes.append(("gradient" if torch.is_grad_enabled() else "embedding", len(batch)))
            return super().forward(batch, layers)

    counted: Adapter = Counted(adapter.model, adapter.fidelity)
    vars(counted)["edges_per_batch"] = adapter.edges_per_batch  # found by passes of its own
    return counted, passes


def withhold(
    adapter: Adapter, pool: Pool, crystals: Sequence[Structure], n: int, seed: int
) -> tuple[list[Structure], Pool]:
    """Draw crystals to find again, and take every crystal of their formulas out of the pool.

    Args:
        adapter: of the model, which must be able to take them.
        pool: to decode from.
        crystals: to draw from; those of more than ``MAX_ATOMS`` are left out.
        n: crystals wanted.
        seed: of the draw.

    Returns:
        (<= n) crystals, and the rest of the pool.

    Raises:
        InputError: no crystal can be drawn, or nothing of the pool is left.
    """
    small = [s for s in crystals if len(s) <= MAX_ATOMS]
    usable = [small[i] for i in usable_crystals(adapter, map(str, range(len(small))), small, graphs=True).rows]
    drawn = [usable[i] for i in np.random.default_rng(seed).permutation(len(usable))[:n]]
    formulas = {s.composition.reduced_formula for s in drawn}
    keep = [i for i, s in enumerate(pool.structures) if s.composition.reduced_formula not in formulas]
    if not drawn or not keep:
        what = "no crystal to withhold" if not drawn else "the pool holds only formulas that are withheld"
        raise InputError(f"{what}; give crystals of at most {MAX_ATOMS} atoms and a larger pool.")
    return drawn, pool.subset(keep)


def decode_targets(
    adapter: Adapter, pool: Pool, targets: np.ndarray, kind: str, seed: int, rounds: int | None
) -> Decoded:
    """Decode (n, dim) targets, one crystal wanted for each, and say how near it came and what it cost."""
    start, processor = time.perf_counter(), time.process_time()
    counted, passes = counting(adapter)
    decoder = Decoder(counted, pool, seed, rounds)
    found = decoder.decode(targets, len(targets))
    seconds = time.perf_counter() - start, time.process_time() - processor
    T = decoder.scaling(targets)
    nearest = np.array([np.linalg.norm(decoder.X - t, axis=1).min() for t in T])
    searched = [[c.distance for c in group if "refined" not in c.moves] for group in found]
    reached = [[c.distance for c in group] for group in found]
    search, refined = (np.array([min(d, default=np.nan) for d in ds]) / nearest for ds in (searched, reached))
    total: Counter[str] = Counter()
    for name, crystals in passes:
        total[name] += crystals
    return Decoded(kind, search, refined, found, total, decoder.refused, *seconds)


def found_again(found: Sequence[Sequence[Candidate]], crystals: Sequence[Structure]) -> dict[str, float]:
    """Share of withheld crystals whose nearest candidate has their elements and formula, and that came out whole.

    Args:
        found: for each crystal its candidates, nearest first.
        crystals: that gave the targets.

    Returns:
        Shares; "recovered" if pymatgen's StructureMatcher accepts one of the nearest :data:`BEST` candidates.
    """
    matcher = StructureMatcher()
    hits = {"right elements": 0, "right formula": 0, "recovered": 0}
    for candidates, crystal in zip(found, crystals, strict=True):
        for first in candidates[:1]:
            hits["right elements"] += set(first.structure.elements) == set(crystal.elements)
            formula = first.structure.composition.reduced_formula
            hits["right formula"] += formula == crystal.composition.reduced_formula
        hits["recovered"] += any(matcher.fit(c.structure, crystal) for c in candidates[:BEST])
    return {name: count / len(crystals) for name, count in hits.items()}


def _percentiles(ratios: np.ndarray) -> list[float]:
    """Of the targets that have a candidate; NaN where none has."""
    some = ratios[np.isfinite(ratios)]
    return [round(float(p), 4) for p in np.percentile(some, PERCENTILES)] if len(some) else [np.nan] * len(PERCENTILES)


def summary(results: Sequence[Decoded], shares: dict[str, float]) -> dict[str, Any]:
    """The figures of a decoding measurement.

    Args:
        results: of withheld crystals and of roughness maxima.
        shares: of :func:`found_again`.
    """
    kinds: dict[str, Any] = {}
    for r in results:
        kinds[r.kind] = {
            "targets": len(r.found),
            "without candidate": int(np.isnan(r.refined).sum()),
            "after search": _percentiles(r.search),
            "after refinement": _percentiles(r.refined),
            "embeddings": r.passes["embedding"],
            "gradient passes": r.passes["gradient"],
            "wall seconds": round(r.seconds, 1),
            "processor seconds": round(r.processor, 1),
            "refused": dict(r.refused.most_common()),
        }
    kinds[results[0].kind] |= shares
    every = {
        "after search": _percentiles(np.concatenate([r.search for r in results])),
        "after refinement": _percentiles(np.concatenate([r.refined for r in results])),
    }
    return kinds | {"both": every}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        low, quarter, middle, upper, high = (f"{v:.2f}" for v in value)
        return f"{middle} ({low} {quarter} {upper} {high})"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return f"{value:.0%}" if isinstance(value, float) and value <= 1 else f"{value:g}"


def decode(
    model: Annotated[str, typer.Argument(help="Model directory or hub name.")],
    pool: Annotated[str, typer.Argument(help="Crystals to decode from.")],
    crystals: Annotated[str, typer.Argument(metavar="EVAL", help="Crystals to find again.")],
    n: Annotated[int, typer.Option("-n", help="Targets of each kind.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw and of the search.")] = 0,
    rounds: Annotated[int | None, typer.Option(help="Rounds of the search; default: the model's.")] = None,
    file: Annotated[Path | None, typer.Option("--json", help="File that gets one more line with the figures.")] = None,
) -> None:
    """Latent distance to targets over that of the nearest pool crystal, crystals found again, cost, refusals."""
    adapter = get_adapter(load_model(model))
    drawn, rest = withhold(adapter, prepare_pool(adapter, pool), read_structures(crystals).structures, n, seed)
    Z = adapter.embed_graphs(adapter.graphs(drawn))[0]
    maxima = graph_roughness(rest.Z, rest.D).maxima(n)[0]
    results = [decode_targets(adapter, rest, Z, "withheld crystals", seed, rounds)]
    if len(maxima):
        results.append(decode_targets(adapter, rest, maxima, "roughness maxima", seed, rounds))
    figures = summary(results, found_again(results[0].found, drawn))
    rows = list(dict.fromkeys(key for kind in figures.values() for key in kind))
    threads = torch.get_num_threads()
    title = f"{adapter.name}: decoding from {len(rest.structures)} crystals, seed {seed}, {threads} threads"
    shown = [[row, *(_shown(kind[row]) if row in kind else "" for kind in figures.values())] for row in rows]
    print_table(title, ["quantity", *figures], shown)
    console.print(
        "after search, after refinement: latent distance of the nearest candidate over that of the nearest pool "
        "crystal, median and, in brackets, percentiles 10, 25, 75 and 90.",
        highlight=False,
    )
    if file is not None:
        facts = {"model": Path(model).name, "pool": len(rest.structures), "seed": seed, "rounds": rounds}
        Lines(file).append(facts | figures)
