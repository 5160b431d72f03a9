"""Commands that evaluate models, redraw reports, upgrade checkpoints and check the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from torch import nn

from matgl_fill.adapters import get_adapter, load_model
from matgl_fill.cli.common import POOL, Model, command, console, print_skipped, say, usable
from matgl_fill.cli.doctor import examine
from matgl_fill.evaluation import PROBES, Score, Task, compare, read_tasks, score_rows
from matgl_fill.evaluation import evaluate as evaluate_model
from matgl_fill.evaluation.scores import SEEDS
from matgl_fill.report.html import rebuild_report
from matgl_fill.structures import Skipped, bundled, csv_text, read_structures
from matgl_fill.utils.files import atomic_folder, atomic_write, check_writable
from matgl_fill.utils.machine import package_facts

PANEL = "Results and help"
MARKS = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[dim]–[/dim]"}


@command(
    PANEL,
    "matgl-fill evaluate my_model/ labelled.jsonl  # errors of simple regressors on the frozen embedding",
    "matgl-fill evaluate out/model labelled.jsonl --against my_model/ -o change.csv  # what fill-tuning changed",
    "matgl-fill evaluate default default --seeds 2  # the bundled model on the bundled tasks",
)
def evaluate(
    model: Model,
    tasks: Annotated[
        list[str],
        typer.Argument(
            metavar="TASKS",
            help="Files of crystals with numeric labels, each label a task; 'default': the bundled tasks.",
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Another model: say how much smaller MODEL's errors are than its."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fold shuffles; the interval is over them.")] = SEEDS,
    descriptors: Annotated[
        bool, typer.Option("--descriptors", help="Concatenate plain descriptors of the crystals to the embedding.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV file of the same table.")] = None,
) -> None:
    """Measure how well simple regressors on MODEL's frozen embedding predict the labels in TASKS.

    The regressors are ridge and Gaussian kernel ridge; five folds never split a formula, and errors are mean absolute
    errors in the label's unit. Positive values whose distribution has a long tail are predicted as logarithms.
    Intervals are 95 % of the bootstrap over fold shuffles. With --against, positive changes mean smaller errors than
    OTHER's.
    """
    if out is not None:
        check_writable(out.parent)
    first, second = load_model(model), load_model(against) if against else None
    chosen, skipped = [], []
    for source in tasks:
        some, left_out = _tasks(source, [first] + ([second] if second is not None else []))
        chosen += some
        skipped += left_out
    scores = evaluate_model(first, chosen, seeds, descriptors)
    comparison = None
    if second is not None:
        comparison = compare(evaluate_model(second, chosen, seeds, descriptors), scores)
    console.print(comparison or _score_table(scores, model))
    print_skipped(skipped)
    if out is not None:
        atomic_write(out, csv_text(score_rows(scores, comparison)))
        say(f"written to {out}")


@command(PANEL, "matgl-fill report out  # then open out/report.html")
def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `run` or `tune` wrote.")],
) -> None:
    """Draw OUT/report.html again from OUT/report.json and OUT/proposals.extxyz.

    No model is needed.
    """
    say(f"written to {rebuild_report(out)}")


@command(PANEL, "matgl-fill upgrade old/MEGNet-MP-2018.6.1-Eform upgraded/MEGNet")
def upgrade(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory of a model that an older MatGL made.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the upgraded copy.")],
    force: Annotated[bool, typer.Option(help="Upgrade without finding out whether it is that old.")] = False,
) -> None:
    """Write a copy of MODEL that predicts on MatGL 4 what it predicted on the MatGL that made it.

    Plain MatGL refuses such files, or loads them without an error and predicts wrong values. It reads the copy; of an
    M3GNet, QET or TensorNet of DGL it does so where this package is installed.
    """
    check_writable(out)
    upgraded = load_model(model, legacy=force or None)
    facts = {"matgl_fill": package_facts()}
    atomic_folder(out, lambda folder: upgraded.save(folder, metadata=facts))  # type: ignore[operator]
    say(f"written to {out}")


@command(
    PANEL,
    "matgl-fill doctor",
    "matgl-fill doctor my_model/ other_model/  # tries these as well",
)
def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODELS", help="Models to try beside the bundled ones.")
    ] = None,
) -> None:
    """Try backends, devices, models and oracles on a small crystal, and say how to get what is missing.

    The exit code is 0 if the basics work: packages that fit together, and the bundled models on the CPU.
    """
    findings = examine(models or [])
    table = Table("", "what", "name", "how it is", box=None, pad_edge=False)
    for one in findings:
        table.add_row(MARKS[one.works], one.group, one.name, one.detail)
    console.print(table)
    if missing := [one for one in findings if one.remedy]:
        console.print("\n[bold]To get what is missing[/bold]")
    for one in missing:
        console.print(f"  {one.name}: {one.remedy}", highlight=False, markup=False, soft_wrap=True)
    bad = [one.name for one in findings if one.needed and not one.works]
    say(f"\n{'basics do not work: ' + ', '.join(bad) if bad else 'the basics work'}")
    raise typer.Exit(1 if bad else 0)


def _tasks(source: str, models: list[nn.Module]) -> tuple[list[Task], list[Skipped]]:
    """Tasks of the crystals that all models can take, and the crystals that were left out, with reasons."""
    pool = read_structures(bundled.EVALUATION if source == POOL else source)
    skipped: list[Skipped] = []
    for model in models:
        pool, left_out = usable(get_adapter(model), pool)
        skipped += left_out
    return read_tasks(pool, bundled.TASKS if source == POOL else None), skipped


def _score_table(scores: list[Score], model: str) -> Table:
    """Errors of one model for the terminal."""
    table = Table(title=f"MAE on the embedding of {model}")
    for name in ("task", "unit"):
        table.add_column(name)
    for name in ("n", "MAE", "95 % interval", *PROBES):
        table.add_column(name, justify="right")
    for s in scores:
        low, high = s.interval
        errors = [f"{s.mae[p].mean():.4g}" for p in PROBES]
        table.add_row(s.task, s.unit, str(s.n), f"{s.mean:.4g}", f"{low:.4g} to {high:.4g}", *errors)
    return table
