"""Command line: ``matgl-fill``."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Fill-tuning for MatGL: find the rough regions of a pretrained model's latent space and fill them.",
)
console = Console()


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
    objective: Annotated[str, typer.Option(help="auto, descriptor or oracle.")] = "auto",
    oracle: Annotated[str | None, typer.Option(help="sevennet, chgnet or the directory of a MatGL potential.")] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(help="File of labelled crystals to evaluate on; may be given again.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
) -> None:
    """Fill-tune MODEL on STRUCTURES and write the result to OUT."""
    from matgl_fill import bundled, fill_tune, load_model
    from matgl_fill.evaluate import read_tasks

    chosen = [t for source in tasks or [] for t in read_tasks(source)] or None
    loaded = load_model(bundled.MODEL if model == "default" else model)
    if model == "default" and chosen is None:
        chosen = read_tasks(bundled.EVALUATION, bundled.TASKS)
    result = fill_tune(loaded, structures, n, objective, oracle, seed, config, None, chosen)  # type: ignore[arg-type]
    result.report["run"]["model"] = model
    result.save(out)
    console.print(result)
    for row in (result.report["skipped"] or [])[:10]:
        console.print(f"skipped {row['where']}: {row['reason']}", style="yellow", highlight=False)
    if len(result.report["skipped"] or []) > 10:
        console.print(f"... and {len(result.report['skipped']) - 10} more, all in report.json", style="yellow")
    console.print(f"{result.report['run']['wall_seconds']} s; report: {out / 'report.html'}", highlight=False)


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
