"""Command line of the evidence: ``evidence run`` and ``evidence table``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.rows import Lines, read_rows
from examples.benchmarks.evidence.bench import Bench, measure_all
from examples.benchmarks.evidence.measurement import ABLATION, FILL, UNTRAINED, changes_of, plan
from examples.benchmarks.evidence.page import Evidence
from examples.benchmarks.evidence.statistics import AS_IS
from examples.benchmarks.evidence.suite import Half, Suite, check_one
from matgl_fill import load_model
from matgl_fill.errors import GenerationError
from matgl_fill.utils.console import console

app = typer.Typer(no_args_is_help=True, help="The evidence: models, tasks, seeds and arms, and an ablation.")


def _arms(text: str) -> list[str]:
    arms = text.split(",")
    if unknown := sorted(set(arms) - {*UNTRAINED, *FILL}):
        raise typer.BadParameter(f"no arm {', '.join(unknown)}; there are {', '.join((*UNTRAINED, *FILL))}.")
    return arms


def _name(path: str) -> str:
    return Path(path).resolve().name


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    pool: Annotated[str, typer.Argument(help="Crystals to fill among; 'default' are the bundled ones.")],
    out: Annotated[Path, typer.Option(help="One JSON line a measurement; what is there is not measured again.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the standing tasks' labelled crystals.")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Instead: file of labelled crystals; 'default' is the bundled one.")
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Of none, descriptors, layers, roughness, random, farthest, dissimilar.")
    ] = "layers,roughness,random,farthest",
    seeds: Annotated[str, typer.Option(help="Of every arm that fills.")] = "0,1,2",
    half: Annotated[Half, typer.Option(help="Of the standing tasks.")] = "both",
    rows: Annotated[int, typer.Option(min=20, help="Crystals per task at most.")] = 800,
    folds: Annotated[int, typer.Option(min=1, help="Fold shuffles of every probe.")] = 1,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to fill with.")] = 100,
    oracle: Annotated[str | None, typer.Option(help="sevennet, chgnet or the directory of a MatGL potential.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change of config, objective or device; may be given again."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the variant that --set makes; without it all variants have --set.")
    ] = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="Run every variant of the ablation.")] = False,
) -> None:
    """Measure MODEL filled among the crystals of POOL, and controls, on every task.

    An interrupted call goes on when it is given again. Crystals are kept
    in OUT.crystals; variants of an arm share them.
    """
    check_one(data, tasks)
    if ablation and label:
        raise typer.BadParameter("--ablation names its variants itself; leave --label out.")
    chosen, listed, given = _arms(arms), numbers(seeds), changes_of(changes or [])
    loaded = load_model(model)
    named: dict[str, dict[str, Any]] = {label: given} if label else {AS_IS: {}}
    base = {} if label else given
    if ablation:
        named = ABLATION
    shared = {"model": _name(model), "rows": rows, "folds": folds}
    shared |= {"tasks": _name(str(data)), "half": half} if data else {"tasks": _name(str(tasks)), "half": ""}
    filling = {"pool": _name(pool), "n": n, "oracle": _name(oracle) if oracle else None, "base": base}
    wanted = plan(shared, filling, chosen, listed, named)

    bench = Bench(loaded, pool, partial(Suite.asked, data, tasks, half, rows), oracle, out.with_suffix(".crystals"))
    if not measure_all(bench, wanted, Lines(out)):
        raise typer.Exit(GenerationError.exit_code)


@app.command()
def table(
    results: Annotated[list[Path], typer.Argument(help="Files that 'run' wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Markdown file, with figures beside it; default: terminal.")
    ] = None,
    tables: Annotated[Path | None, typer.Option("--csv", help="Folder for the same tables as CSV files.")] = None,
) -> None:
    """Tables of everything in RESULTS: each arm, each task, and each arm against the controls."""
    evidence = Evidence([row for path in results for row in read_rows(path)])
    if tables is not None:
        evidence.write_tables(tables)
    if out is not None:
        evidence.write_page(out)
    if written := [str(path) for path in (out, tables) if path is not None]:
        console.print(f"{len(evidence.rows)} measurements, tables written to {', '.join(written)}", highlight=False)
    else:
        typer.echo(evidence.page())
