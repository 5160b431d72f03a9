"""Commands that analyse a latent space: ``embed``, ``roughness``, ``propose``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from matgl_fill.cli.common import (
    POOL,
    Config,
    Device,
    Model,
    Out,
    Overwrite,
    Seed,
    State,
    Structures,
    check_folder_name,
    check_suffix,
    command,
    console,
    print_skipped,
    read,
    say,
)
from matgl_fill.config import Choice, FillConfig
from matgl_fill.utils.counting import counted

if TYPE_CHECKING:
    from matgl_fill.embedding.shards import ShardFolder
    from matgl_fill.structures import StructureSet

PANEL = "Latent space"


@command(
    PANEL,
    "matgl-fill embed default crystals/ -o Z.parquet  # one row a crystal",
    "matgl-fill embed my_model/ md.extxyz --level atom -o Z.parquet  # one row an atom",
    "matgl-fill embed my_model/ big.jsonl.gz -o Z --executor processes  # any size, on all cores, into a folder",
    "matgl-fill embed my_model/ big.parquet -o Z --executor dask://10.0.0.1:8786  # on a cluster",
)
def embed(
    model: Model,
    structures: Structures,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Parquet file: id, (atom,) z0, z1, ...; with --executor a folder.",
            show_default="Z.parquet, with --executor Z",
        ),
    ] = None,
    level: Annotated[
        Literal["structure", "atom"], typer.Option(help="One row for each crystal, or for each atom.")
    ] = "structure",
    pooling: Annotated[
        Literal["model", "mean", "sum", "max"], typer.Option(help="The model's own embedding, or atoms pooled.")
    ] = "model",
    state: State = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps embeddings for later calls; by default OUT.partial, removed once OUT is there."
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Embed JSONL(.gz) or Parquet of any size into the folder OUT. 'here': in this process; 'processes' or "
            "'processes:N': in processes of this machine; 'dask://HOST:PORT': on a cluster (needs the extra scale).",
        ),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=256, help="Rows of a shard, a multiple of 256.")] = 4096,
    device: Device = None,
) -> None:
    """Embed STRUCTURES by MODEL.

    An interrupted call goes on where it stopped when it is given again. With --executor OUT is a folder of shards
    (shard-000000.parquet, ...), which `roughness` and `propose` take as STRUCTURES. Their rows have the same bits
    whatever the workers, and one that dies loses nothing. A row that cannot be used has the reason in its column
    `skipped`.
    """
    if executor is not None:
        if level != "structure" or cache is not None:
            raise typer.BadParameter(
                "--executor embeds crystals and resumes by itself; leave out --level atom and --cache."
            )
        folder = check_folder_name(out or Path("Z"))
        _embed_shards(model, structures, folder, executor, shard_size, pooling, state, device)
        return
    out = out or Path("Z.parquet")
    check_suffix(out, "embeddings are written as Parquet", ".parquet")
    from matgl_fill.adapters import get_adapter, load_model, on_device
    from matgl_fill.embedding import embedding_seconds
    from matgl_fill.embedding.embed import embed as embed_crystals
    from matgl_fill.structures import write_embedding
    from matgl_fill.utils.files import check_writable

    check_writable(out.parent)
    loaded = on_device(load_model(model), device)
    adapter = get_adapter(loaded, state)
    pool, skipped = read(adapter, structures)
    store = cache or out.with_name(out.name + ".partial")
    seconds = embedding_seconds(adapter, pool.structures) * len(pool)
    say(f"embedding {counted(len(pool), 'crystal')} with {adapter.name}, about {seconds:.0f} s")
    Z = embed_crystals(loaded, pool, level, progress=True, pooling=pooling, state=state, cache=store)
    write_embedding(out, pool, Z, {"model": model, "level": level, "pooling": pooling})
    if cache is None:
        store.unlink(missing_ok=True)  # another call with the same OUT may have removed it
    print_skipped(skipped)
    say(f"{counted(Z.shape[0], 'embedding')} of {Z.shape[1]} dimensions written to {out}.")


def _embed_shards(
    model: str,
    structures: str,
    out: Path,
    executor: str,
    shard_size: int,
    pooling: Literal["model", "mean", "sum", "max"],
    state: int | None,
    device: str | None,
) -> None:
    """Embed a file of any size into a folder, after saying what it will cost."""
    from matgl_fill.adapters import get_adapter, load_model
    from matgl_fill.embedding.cost import shards_cost
    from matgl_fill.embedding.shards import embed_shards
    from matgl_fill.structures import bundled

    source = bundled.POOL if structures == POOL else Path(structures)
    loaded = load_model(model)
    adapter = get_adapter(loaded, state)
    say(f"embedding with {adapter.name} by {executor}: {shards_cost(adapter, source)}")
    made = embed_shards(loaded, source, out, executor, shard_size, pooling, "last", state, device, progress=True)
    print_skipped(made.skipped, f", all in the column 'skipped' of {out}")
    say(f"{counted(len(made), 'embedding')} of {made.width} dimensions in {counted(made.shards, 'shard')} in {out}.")


@command(
    PANEL,
    "matgl-fill roughness default crystals/ -o rough  # open rough/map.svg",
    "matgl-fill roughness my_model/ crystals.jsonl --response hardness_GPa  # roughness of a property you measured",
)
def roughness(
    model: Model,
    structures: Structures,
    out: Out = Path("roughness"),
    response: Annotated[
        str,
        typer.Option(
            help="What varies over latent space: neighbour_similarity (are latent neighbours alike?), "
            "perturbation_sensitivity (does the model overreact to displaced atoms? eleven embeddings per crystal), "
            "prediction (the model's own), or the name of a numeric label of STRUCTURES."
        ),
    ] = "neighbour_similarity",
    method: Annotated[
        Literal["graph", "landscape"],
        typer.Option(
            help="graph: the data points as they are, any number of them. landscape: stationary points of a smooth "
            "surface through them, as published, for a few hundred points in few dimensions."
        ),
    ] = "graph",
    state: State = None,
    seed: Seed = 0,
    maxima: Annotated[int, typer.Option(min=1, help="Roughest points to list and to mark, at most.")] = 20,
    projection: Annotated[
        Literal["pca", "umap"],
        typer.Option(help="Projection of the map; umap shows clusters better and needs the extra plots."),
    ] = "pca",
    device: Device = None,
) -> None:
    """Find where MODEL's embedding of STRUCTURES is rough, without any label.

    STRUCTURES may be a folder of shards that `embed --executor` wrote, of any size.

    OUT holds frustration, measures and settings (summary.json), every crystal and the roughest points (crystals.csv,
    maxima.csv), pictures of the map, the disconnectivity graph and the origin of the frustration (PNG, SVG), minima
    and transition states (network.json), and all of the analysis for matgl_fill.roughness.RoughnessResult.load
    (roughness.npz).
    """
    from matgl_fill.adapters import get_adapter, load_model, on_device
    from matgl_fill.embedding.shards import ShardFolder
    from matgl_fill.roughness.report import RoughnessRequest, report_roughness, report_shards
    from matgl_fill.utils.files import check_writable

    check_writable(out)
    loaded = on_device(load_model(model), device)
    adapter = get_adapter(loaded, state)
    request = RoughnessRequest(response, method, state, seed, maxima, projection, model, structures)
    if ShardFolder.is_one(structures):
        report = report_shards(loaded, ShardFolder(structures), request)
    else:
        pool, skipped = read(adapter, structures)
        report = report_roughness(loaded, replace(pool, skipped=skipped), request)
    report.save(out)
    console.print(report)
    print_skipped(report.skipped, ", all in summary.json")
    say(f"{len(report.pool)} crystals by {adapter.name}. Tables and pictures are in {out}.")


@command(
    PANEL,
    "matgl-fill propose default crystals/ -n 20 -o proposals",
    "matgl-fill propose my_potential/ crystals/ --exclude Tc,Po --max-atoms 16  # what my code can compute",
    "matgl-fill tune my_model/ crystals/ --labelled dft.extxyz  # after DFT: learn from its results",
)
def propose(
    model: Model,
    structures: Structures,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to propose.")] = 100,
    out: Out = Path("proposals"),
    seed: Seed = 0,
    choice: Annotated[
        Choice | None,
        typer.Option(
            help="Where to fill: at the maxima of the local roughness (where these are few, at the roughest crystals "
            "of other regions too), or, as controls, at crystals of STRUCTURES chosen at random, by farthest-point "
            "sampling, or as the least like their latent neighbours.",
            show_default="roughness",
        ),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(help="Elements that no crystal may hold, such as those without a pseudopotential: 'Tc,Po'."),
    ] = None,
    max_atoms: Annotated[
        int | None, typer.Option(min=1, help="Largest number of atoms of a crystal.", show_default="24")
    ] = None,
    config: Config = None,
    state: State = None,
    overwrite: Overwrite = False,
    device: Device = None,
) -> None:
    """Propose crystals for your own DFT calculations.

    For a property model: new crystals where MODEL's embedding of STRUCTURES is rough. For a potential: configurations
    around STRUCTURES as they occur in simulations (displaced atoms, strained cells, supercells, vacancies,
    surfaces, molecular dynamics by MODEL itself), and some new crystals; the setting `shares` says how many of each.

    OUT holds the crystals with their provenance (proposals.extxyz), each as a file (cif/ID.cif, poscar/ID.vasp), a
    table of them (proposals.csv), the latent points that they fill (targets.csv), a latent map (PNG, SVG), and
    settings, versions, counts of refused crystals and the skipped crystals (summary.json).

    STRUCTURES may be a folder of shards that `embed --executor` wrote, of any size: targets are chosen among all its
    crystals, and the search reads those around the targets.

    An interrupted call goes on from OUT/search.partial when it is given again, and ends with the same files. Proposals
    that OUT holds already are replaced with --overwrite only.
    """
    from matgl_fill.adapters import get_adapter, load_model, on_device
    from matgl_fill.embedding import embedding_seconds
    from matgl_fill.embedding.cost import SAMPLE
    from matgl_fill.embedding.shards import ShardFolder
    from matgl_fill.generation import SearchRequest
    from matgl_fill.generation.report import CHECKPOINT, InputNames, check_free, report_proposals
    from matgl_fill.generation.start import AROUND, DRAWN
    from matgl_fill.utils.files import check_writable

    given = {"choice": choice, "exclude_elements": exclude, "max_atoms": max_atoms}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = FillConfig.make(config).changed(**changes).search
    check_writable(out)
    check_free(out, overwrite)
    adapter = get_adapter(on_device(load_model(model), device), state)
    pool: StructureSet | ShardFolder
    if ShardFolder.is_one(structures):
        pool = ShardFolder(structures)
        embedded, some = min(len(pool), AROUND + DRAWN), pool.structures(range(min(len(pool), SAMPLE)))
    else:
        usable, skipped = read(adapter, structures)
        pool = replace(usable, skipped=skipped)
        embedded, some = len(pool), pool.structures
    request = SearchRequest(n, seed, settings, out / CHECKPOINT, adapter.is_potential)
    seconds = embedding_seconds(adapter, some)
    embedding, search = seconds * embedded, request.seconds(adapter, seconds)
    say(f"{len(pool)} crystals by {adapter.name}: embedding about {embedding:.0f} s, search about {search:.0f} s")
    partial = [file for file in (request.checkpoint, request.configurations_file) if file is not None]
    for file in partial:
        if file.exists():
            say(f"going on from {file}")
    names = InputNames(model, structures, state)
    report = report_proposals(adapter, pool, request, names)
    report.save(out)
    for file in partial:
        file.unlink(missing_ok=True)
    console.print(report)
    print_skipped(report.pool.skipped, ", all in summary.json")
    say(f"{counted(len(report.rows), 'crystal')} in {out}.")
    proposed = out / "proposals.extxyz"
    say(f"Next: calculate those in {out / 'poscar'} with your code, or: matgl-fill label {proposed} --oracle NAME")
