"""Command line: ``matgl-fill``."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console

if TYPE_CHECKING:
    from matgl_fill.adapters import Adapter
    from matgl_fill.io import Skipped, StructureSet

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Fill-tuning for MatGL: find the rough regions of a pretrained model's latent space and fill them.",
)
console = Console()
SHOWN = 10
"""Lines at most about crystals that were left out."""
SAMPLE = 32
"""Crystals that are embedded first, to tell how long the rest will take."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Tasks = Annotated[list[str] | None, typer.Option(help="File of labelled crystals to evaluate on; may be given again.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of settings.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in OUT; otherwise it starts over.")
]


@app.callback()
def _root() -> None:
    """Keep ``run`` a subcommand."""


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    structures: Annotated[
        str | None,
        typer.Argument(help="CIF, POSCAR, extxyz, JSON(L)(.gz), ase.db or folder; default: bundled pool."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written.")] = Path("out"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to generate.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    objective: Annotated[
        str, typer.Option(help="auto, descriptor, denoise, oracle, or a sum: descriptor+denoise.")
    ] = "auto",
    oracle: Annotated[str | None, typer.Option(help="sevennet, chgnet or the directory of a MatGL potential.")] = None,
    tasks: Tasks = None,
    config: Config = None,
    resume: Resume = False,
) -> None:
    """Fill-tune MODEL on STRUCTURES and write the result to OUT.

    A run that was interrupted goes on from OUT/run.partial when it is
    given again with --resume, and ends with the same crystals, weights
    and report.
    """
    settings = {"n": n, "objective": objective, "oracle": oracle, "seed": seed, "config": config, "resume": resume}
    _fill_tune(model, structures, out, tasks, **settings)


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    structures: Annotated[
        str | None, typer.Argument(help="Pool of known crystals, whose predictions are kept; default: bundled pool.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="Extended XYZ of crystals with energy, and forces and stress if there are: from DFT."),
    ] = None,
    oracle: Annotated[
        str | None,
        typer.Option(
            help="Or label generated crystals: sevennet, chgnet, the directory of a MatGL potential, or "
            "module:factory, a function that gives an ASE calculator."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written.")] = Path("out"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to generate for the oracle.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    tasks: Tasks = None,
    config: Config = None,
    resume: Resume = False,
) -> None:
    """Fill-tune MODEL on energies, forces and stresses: labels back from DFT, or an oracle's.

    Energies may be of another level of theory: elemental references
    are fitted, and what they leave unexplained is in report.json.

    Example: matgl-fill propose MODEL pool/ -o new; run DFT on new/poscar;
    matgl-fill tune MODEL pool/ --labelled dft.extxyz -o tuned
    """
    if (labelled is None) == (oracle is None):
        raise typer.BadParameter("give either --labelled or --oracle.")
    settings = {"n": n, "oracle": oracle, "labelled": labelled, "seed": seed, "config": config, "resume": resume}
    _fill_tune(model, structures, out, tasks, **settings)


def _fill_tune(model: str, structures: str | None, out: Path, tasks: list[str] | None, **settings: Any) -> None:
    """Fill-tune, write and say what came of it."""
    from matgl_fill import bundled, fill_tune, load_model
    from matgl_fill.evaluate import read_tasks

    chosen = [t for source in tasks or [] for t in read_tasks(source)] or None
    loaded = load_model(bundled.MODEL if model == "default" else model)
    if model == "default" and chosen is None:
        chosen = read_tasks(bundled.EVALUATION, bundled.TASKS)
    try:
        result = fill_tune(loaded, structures, out=out, tasks=chosen, name=model, **settings)
    except KeyboardInterrupt:
        console.print("interrupted; the same call with --resume goes on")
        raise typer.Exit(INTERRUPTED) from None
    console.print(result)
    _print_skipped([(row["where"], row["reason"]) for row in result.report["skipped"] or []], ", all in report.json")
    console.print(f"{result.report['run']['wall_seconds']} s; report: {out / 'report.html'}", highlight=False)


@app.command()
def embed(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    structures: Annotated[str, typer.Argument(help="CIF, POSCAR, extxyz, JSON(L)(.gz), ase.db or folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file: id, (atom,) z0, z1, ...")] = Path("Z.parquet"),
    level: Annotated[Literal["structure", "atom"], typer.Option(help="One row a crystal, or an atom.")] = "structure",
    pooling: Annotated[
        Literal["model", "mean", "sum", "max"], typer.Option(help="The model's own embedding, or atoms pooled.")
    ] = "model",
    state: Annotated[int | None, typer.Option(help="Fidelity of multi-fidelity models.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep embeddings here for later calls; default OUT.partial, until OUT is there."),
    ] = None,
) -> None:
    """Embed STRUCTURES by MODEL; an interrupted call goes on where it stopped."""
    from matgl_fill import bundled, get_adapter, load_model, read_structures
    from matgl_fill.embedding import embed as embed_crystals
    from matgl_fill.tables import write_embedding

    loaded = load_model(bundled.MODEL if model == "default" else model)
    adapter = get_adapter(loaded, state)
    pool, skipped = _usable(adapter, read_structures(structures))
    store = cache or out.with_name(out.name + ".partial")

    def rows(some: StructureSet, progress: bool = False) -> np.ndarray:
        return embed_crystals(loaded, some, level, progress=progress, pooling=pooling, state=state, cache=store)

    first = pool.subset(np.linspace(0, len(pool) - 1, min(SAMPLE, len(pool))).astype(int))
    start = time.perf_counter()
    rows(first)
    seconds = (time.perf_counter() - start) / len(first) * len(pool)
    console.print(f"{len(pool)} crystals by {adapter.name}, about {seconds:.0f} s", highlight=False)
    Z = rows(pool, progress=True)
    write_embedding(out, pool, Z, {"model": model, "level": level, "pooling": pooling})
    if cache is None:
        store.unlink()
    _print_skipped([(s.where, s.reason) for s in skipped], "")
    console.print(f"{Z.shape[0]} rows of {Z.shape[1]} written to {out}", highlight=False)


@app.command()
def roughness(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    structures: Annotated[str, typer.Argument(help="CIF, POSCAR, extxyz, JSON(L)(.gz), ase.db or folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written.")] = Path(
        "roughness"
    ),
    response: Annotated[
        str,
        typer.Option(
            help="What varies over latent space: neighbour_similarity (are latent neighbours alike?), "
            "perturbation_sensitivity (does the model overreact to displaced atoms? eleven embeddings a crystal), "
            "prediction (the model's own), or the name of a number that STRUCTURES carry."
        ),
    ] = "neighbour_similarity",
    method: Annotated[
        Literal["graph", "landscape"],
        typer.Option(
            help="graph: the data points as they are, any number of them. landscape: stationary points of a smooth "
            "surface through them, as published, for a few hundred points in few dimensions."
        ),
    ] = "graph",
    state: Annotated[int | None, typer.Option(help="Fidelity of multi-fidelity models.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    maxima: Annotated[int, typer.Option(min=1, help="Roughest places to list and to mark, at most.")] = 20,
    projection: Annotated[
        Literal["pca", "umap"], typer.Option(help="Of the map; umap shows clusters better and needs umap-learn.")
    ] = "pca",
) -> None:
    """Find where MODEL's embedding of STRUCTURES is rough, without any label.

    OUT holds frustration, measures and settings (summary.json),
    every crystal and the roughest places (crystals.csv, maxima.csv),
    map, disconnectivity graph and what carries the frustration (PNG, SVG),
    minima and transition states (network.json), and all of the analysis
    for matgl_fill.roughness.RoughnessResult.load (roughness.npz).

    Example: matgl-fill roughness default my_crystals/ -o rough
    """
    from matgl_fill import bundled, get_adapter, load_model, read_structures
    from matgl_fill.roughness_report import report_roughness

    loaded = load_model(bundled.MODEL if model == "default" else model)
    adapter = get_adapter(loaded, state)
    pool, skipped = _usable(adapter, read_structures(structures))
    report = report_roughness(loaded, replace(pool, skipped=skipped), response, method, state, seed, maxima, projection)
    report.settings.update(model=model, structures=structures)
    report.save(out)
    console.print(report)
    _print_skipped([(s.where, s.reason) for s in report.skipped], ", all in summary.json")
    console.print(f"{len(report.pool)} crystals by {adapter.name}; tables and pictures in {out}", highlight=False)


@app.command()
def propose(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    structures: Annotated[str, typer.Argument(help="CIF, POSCAR, extxyz, JSON(L)(.gz), ase.db or folder.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to propose.")] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written.")] = Path(
        "proposals"
    ),
    seed: Annotated[int, typer.Option(help="Of all random choices; one seed gives one set of crystals.")] = 0,
    choice: Annotated[
        Literal["roughness", "random", "farthest"],
        typer.Option(
            help="Where to fill: at the maxima of the local roughness, or, to compare with, at crystals of STRUCTURES "
            "taken at random or by farthest-point sampling."
        ),
    ] = "roughness",
    state: Annotated[int | None, typer.Option(help="Fidelity of multi-fidelity models.")] = None,
) -> None:
    """Propose new crystals where MODEL's embedding of STRUCTURES is rough, for your own DFT calculations.

    OUT holds the crystals with their provenance (proposals.extxyz),
    each as a file (cif/ID.cif, poscar/ID.vasp), what is known of them
    (proposals.csv), the latent points they are for (targets.csv),
    a latent map (PNG, SVG), and settings, versions, what the filters
    refused and which crystals were skipped (summary.json).

    An interrupted call goes on from OUT/search.partial when it is given
    again, and ends with the same files.

    Example: matgl-fill propose default my_crystals/ -n 20 -o proposals
    """
    from matgl_fill import bundled, get_adapter, load_model, read_structures
    from matgl_fill.cost import SEARCH_COST, embedding_seconds
    from matgl_fill.proposals_report import CHECKPOINT, report_proposals

    adapter = get_adapter(load_model(bundled.MODEL if model == "default" else model), state)
    pool, skipped = _usable(adapter, read_structures(structures))
    seconds = embedding_seconds(adapter, pool.structures)
    embedding, search = seconds * len(pool), seconds * SEARCH_COST * n
    text = f"{len(pool)} crystals by {adapter.name}: embedding about {embedding:.0f} s, search about {search:.0f} s"
    console.print(text, highlight=False)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists():
        console.print(f"going on from {checkpoint}", highlight=False)
    report = report_proposals(adapter, replace(pool, skipped=skipped), n, seed, choice, checkpoint, model)
    report.settings.update(structures=structures, state=state)
    report.save(out)
    checkpoint.unlink(missing_ok=True)
    console.print(report)
    _print_skipped([(s.where, s.reason) for s in report.pool.skipped], ", all in summary.json")
    console.print(f"{len(report.rows)} crystals in {out}", highlight=False)


@app.command()
def upgrade(
    model: Annotated[str, typer.Argument(help="Directory of a MEGNet or TensorNet checkpoint from before MatGL 3.")],
    out: Annotated[Path, typer.Argument(help="Folder for the upgraded copy.")],
    force: Annotated[bool, typer.Option(help="Upgrade without finding out whether it is that old.")] = False,
) -> None:
    """Write a copy of MODEL that predicts on MatGL 4 what it predicted before MatGL 3."""
    from matgl_fill import load_model

    load_model(model, legacy=force or None).save(out)  # type: ignore[operator]
    console.print(f"written to {out}", highlight=False)


def _usable(adapter: Adapter, pool: StructureSet) -> tuple[StructureSet, list[Skipped]]:
    """What the model can take, and what was left out and why."""
    from matgl_fill.errors import InputError
    from matgl_fill.io import Skipped

    problems = [adapter.problem(s) for s in pool.structures]
    skipped = pool.skipped + [Skipped(i, p) for i, p in zip(pool.ids, problems, strict=True) if p]
    if all(problems):
        raise InputError(f"no crystal that {adapter.name} can take; first: {skipped[0].where}: {skipped[0].reason}.")
    return replace(pool.subset(np.array([p is None for p in problems])), skipped=[]), skipped


def _print_skipped(skipped: Sequence[tuple[str, str]], where_all: str) -> None:
    for where, reason in skipped[:SHOWN]:
        console.print(f"skipped {where}: {reason}", style="yellow", highlight=False)
    if len(skipped) > SHOWN:
        console.print(f"... and {len(skipped) - SHOWN} more{where_all}", style="yellow")


def main() -> None:
    """Entry point: one line per warning and error; exit codes 2 input, 3 model, 4 generation, 5 oracle."""
    from matgl_fill.errors import MatglFillError, MatglFillWarning

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("always", category=MatglFillWarning)
    warnings.showwarning = lambda message, *_args, **_kwargs: print(f"warning: {message}", file=sys.stderr)
    try:
        app()
    except MatglFillError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(err.exit_code)
