"""Commands that evaluate models, redraw reports, upgrade checkpoints and check the installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from matgl_fill.cli.common import POOL, Model, check_suffix, command, console, print_skipped, say, usable
from matgl_fill.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from matgl_fill.evaluation import Score, Task
    from matgl_fill.structures import Skipped

PANEL = "Results and help"
MARKS = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[dim]–[/dim]"}


@command(
    PANEL,
    "matgl-fill evaluate my_model/ labelled.jsonl  # errors of simple regressors on the frozen embedding",
    "matgl-fill evaluate out/model labelled.jsonl --against my_model/ -o change.csv  # what fill-tuning changed",
    "matgl-fill evaluate default default --seeds 2  # the bundled model on the bundled tasks",
    "matgl-fill evaluate out/model --physics elasticity.json.gz --against my_potential/ --limit 100  # against DFT",
)
def evaluate(
    model: Model,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASKS",
            help="Files of crystals with numeric labels, each label a task; 'default': the bundled tasks.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Another model; say how much smaller MODEL's errors are than OTHER's."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of fold shuffles, over which intervals are taken.")] = 5,
    descriptors: Annotated[
        bool, typer.Option("--descriptors", help="Concatenate plain descriptors of the crystals to the embedding.")
    ] = False,
    physics: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Instead of TASKS: crystals with reference values, such as a file of matcalc's benchmarks. Names: "
            "bulk_modulus_vrh, shear_modulus_vrh (GPa), heat_capacity (of the cell at 300 K, J/(mol K)), volume (A^3).",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of crystals for --physics.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV file of the same table.")] = None,
) -> None:
    """Measure how well MODEL's frozen embedding predicts the labels in TASKS, or how right a potential's physics is.

    Simple regressors predict the labels: ridge and Gaussian kernel ridge; five folds never split a formula, and errors
    are mean absolute errors in the label's unit. Positive values whose distribution has a long tail are predicted as
    logarithms. Intervals are 95 % of the bootstrap over fold shuffles. With --against, positive changes mean smaller
    errors than OTHER's.

    With --physics, MODEL is a potential: crystals are relaxed, and volumes (against that of the file's cell unless it
    has a label), elastic moduli and heat capacities are calculated with matcalc. With --against, changes are of the
    mean absolute error, from OTHER's to MODEL's: negative is better. With -o an interrupted call goes on.
    """
    from matgl_fill.adapters import load_model
    from matgl_fill.evaluation import compare, score_rows
    from matgl_fill.evaluation import evaluate as evaluate_model
    from matgl_fill.structures import csv_text
    from matgl_fill.utils.files import atomic_write, check_writable

    if bool(tasks) == (physics is not None):
        told = "both TASKS and --physics are given" if tasks else "there is nothing to evaluate"
        raise InputError(f"{told}; give either TASKS or --physics FILE.")
    if out is not None:
        check_suffix(out, "the table is written as CSV", ".csv")
        check_writable(out.parent)
    if physics is not None:
        _evaluate_physics(model, against, physics, limit, out)
        return
    first, second = load_model(model), load_model(against) if against else None
    chosen, skipped = [], []
    for source in tasks or []:
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
        say(f"Table written to {out}.")


@command(PANEL, "matgl-fill report out  # then open out/report.html")
def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `run` or `tune` wrote.")],
) -> None:
    """Draw OUT/report.html again from OUT/report.json and OUT/proposals.extxyz.

    No model is needed.
    """
    from matgl_fill.report.html import rebuild_report

    say(f"Report written to {rebuild_report(out)}.")


@command(PANEL, "matgl-fill upgrade old/MEGNet-MP-2018.6.1-Eform upgraded/MEGNet")
def upgrade(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Directory of a model that an older MatGL made.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the upgraded copy.")],
    force: Annotated[bool, typer.Option(help="Upgrade without checking that an older MatGL made MODEL.")] = False,
) -> None:
    """Write a copy of MODEL that predicts on MatGL 4 what it predicted on the MatGL that made it.

    Plain MatGL refuses such files, or loads them without an error and predicts wrong values. It reads the
    copy; that of an M3GNet, QET or DGL TensorNet also needs this package to be installed.
    """
    from matgl_fill.adapters import load_model
    from matgl_fill.utils.files import atomic_folder, check_writable
    from matgl_fill.utils.machine import package_facts

    check_writable(out)
    upgraded = load_model(model, legacy=force or None)
    facts = {"matgl_fill": package_facts()}
    atomic_folder(out, lambda folder: upgraded.save(folder, metadata=facts))  # type: ignore[operator]
    say(f"Upgraded model written to {out}.")


@command(
    PANEL,
    "matgl-fill doctor",
    "matgl-fill doctor my_model/ other_model/  # tries these as well",
    "matgl-fill doctor --device cuda:1  # speed, and agreement with the CPU",
)
def doctor(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODELS", help="Models to try beside the bundled ones.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Another device to try, such as cuda:1; if it fails, so does the command.")
    ] = None,
) -> None:
    """Try backends, devices, models and oracles on a small crystal, and say how to get what is missing.

    The exit code is 0 if the basics work: packages that fit together, and the bundled models on the CPU.
    """
    from matgl_fill.cli.doctor import examine

    findings = examine(models or [], device)
    table = Table("", "what", "name", "result", box=None, pad_edge=False)
    for one in findings:
        table.add_row(MARKS[one.works], one.group, one.name, one.detail)
    console.print(table)
    if missing := [one for one in findings if one.remedy]:
        console.print("\n[bold]To get what is missing[/bold]")
    for one in missing:
        console.print(f"  {one.name}: {one.remedy}", highlight=False, markup=False, soft_wrap=True)
    bad = [one.name for one in findings if (one.needed or one.name == device) and not one.works]
    say(f"\n{'The basics do not work: ' + ', '.join(bad) if bad else 'The basics work.'}")
    raise typer.Exit(1 if bad else 0)


def _evaluate_physics(model: str, against: str | None, file: str, limit: int | None, out: Path | None) -> None:
    """Print the errors of a potential's physics, or how they differ from another's, and write them as CSV."""
    from matgl_fill.adapters import get_adapter, load_model
    from matgl_fill.evaluation import compare_physics, evaluate_physics
    from matgl_fill.evaluation.physics import physics_rows, words
    from matgl_fill.structures import Skipped, csv_text, read_structures
    from matgl_fill.utils.files import atomic_write

    names = [model] if against is None else [against, model]
    models = [load_model(name) for name in names]
    references, skipped = read_structures(file), []
    for one in models:
        references, left_out = usable(get_adapter(one), references)
        skipped += left_out
    states = [None if out is None else out.with_name(f"{out.name}.{k}.partial") for k in range(len(models))]
    results = [evaluate_physics(one, references, limit, state) for one, state in zip(models, states, strict=True)]
    console.print(results[0] if against is None else compare_physics(*results))
    print_skipped(skipped)
    for name, result in zip(names, results, strict=True):
        failed = [Skipped(f"{words(row.property)} of {row.id} by {name}", row.remark) for row in result.failed]
        print_skipped(failed, ", all in the file that -o writes")
    if out is not None:
        atomic_write(out, csv_text(physics_rows(list(zip(names, results, strict=True)))))
        for state in filter(None, states):
            state.unlink()
        say(f"Table written to {out}.")


def _tasks(source: str, models: list[nn.Module]) -> tuple[list[Task], list[Skipped]]:
    """Tasks of the crystals that all models can take, and the crystals that were left out, with reasons."""
    from matgl_fill.adapters import get_adapter
    from matgl_fill.evaluation import read_tasks
    from matgl_fill.structures import bundled, read_structures

    pool = read_structures(bundled.EVALUATION if source == POOL else source)
    skipped: list[Skipped] = []
    for model in models:
        pool, left_out = usable(get_adapter(model), pool)
        skipped += left_out
    return read_tasks(pool, bundled.TASKS if source == POOL else None), skipped


def _score_table(scores: list[Score], model: str) -> Table:
    """Errors of one model for the terminal."""
    from matgl_fill.evaluation import PROBES

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
