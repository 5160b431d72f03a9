"""Frozen features beside each other: error against the number of labels, and on all standing tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Structure
from sklearn.preprocessing import StandardScaler

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.printing import print_table
from examples.benchmarks.common.rows import Lines, Row, read_rows
from examples.benchmarks.embedding.curves import LABELLED, TASKS, draw_curves
from examples.benchmarks.evidence.finetuning import split
from examples.benchmarks.evidence.suite import CHOOSING, REPORTING, Suite, tasks_of
from matgl_fill import FillFeaturizer, get_adapter, load_model
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Task
from matgl_fill.evaluation.intervals import mean_interval
from matgl_fill.evaluation.probes import FITS, PROBES, cross_validated_mae
from matgl_fill.roughness.plots import figure_bytes
from matgl_fill.structures import csv_text, write_structures
from matgl_fill.utils.console import track
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.hashing import hash_structure

app = typer.Typer(no_args_is_help=True, help="Features of this package beside what a user would install instead.")
CURVES = tuple(TASKS)
"""Tasks of the learning curves: those with most labels, of each file one."""
LABELS = ",".join(map(str, LABELLED))
"""Numbers of labels of a curve."""
LEFT = 200
"""Crystals that a curve leaves to test on at least."""
SEEDS = 5
"""Draws of the labelled crystals."""
TRAINED_FOR = "formation_energy_2015_eV_per_atom"
"""The standing task that is left out: potentials learn energies, as do some of the property models."""
FOLDED = "folds"
"""What stands for the number of labels where all are used, in five folds."""


@dataclass(frozen=True)
class Features:
    """Everything that is compared.

    Attributes:
        tasks: The standing tasks, each cut to as many crystals as :class:`Suite` takes.
        curves: The tasks of the curves with all their crystals.
        ways: Function that gives the features (crystals, k), by the name of the way.
    """

    tasks: Sequence[Task]
    curves: Sequence[Task]
    ways: Mapping[str, Callable[[], np.ndarray]]

    @cached_property
    def place(self) -> dict[int, int]:
        """Row of every crystal."""
        return {id(s): i for i, s in enumerate(crystals_of(self.tasks, self.curves))}

    def rows_of(self, task: Task) -> list[int]:
        """Rows of a task's crystals in the features."""
        return [self.place[id(s)] for s in task.structures]


def read(data: Path, rows: int) -> tuple[list[Task], list[Task]]:
    """The 16 standing tasks with at most ``rows`` crystals each, and those of the curves with all.

    Raises:
        InputError: A file or a label is missing.
    """
    whole = tasks_of(data, tuple(name for name in CHOOSING + REPORTING if name[1] != TRAINED_FOR), 10**9)
    cut = [task.subset(range(min(rows, len(task)))) for task in whole]
    return cut, [task for task in whole if task.name in CURVES]


def crystals_of(tasks: Sequence[Task], curves: Sequence[Task]) -> list[Structure]:
    """Crystals of all tasks, each once."""
    return Suite([*tasks, *curves], [""] * (len(tasks) + len(curves))).structures


def curve_errors(Z: np.ndarray, task: Task, labels: int, seed: int) -> float:
    """Mean error of the probes that learn from some crystals of a task, on all crystals of other formulas."""
    rows, test = split(task, labels, seed)
    scaler = StandardScaler().fit(Z[rows])
    X, X_test = scaler.transform(Z[rows]), scaler.transform(Z[test])
    errors = [np.abs(FITS[probe](X, task.y[rows], X_test) - task.y[test]).mean() for probe in PROBES]
    return float(np.mean(errors))


def folded_errors(Z: np.ndarray, task: Task, seed: int) -> float:
    """Mean error of the probes over five folds of all crystals of a task."""
    return float(np.mean(list(cross_validated_mae(Z, task.y, task.groups, seed).values())))


def measure(found: Features, labels: Sequence[int], lines: Lines) -> None:
    """Measure what the file does not have yet: all standing tasks by every way, then the learning curves.

    Args:
        found: What is compared.
        labels: Numbers of labels of the curves; those that leave too few crystals to test on are passed over.
        lines: File of rows.
    """
    done = {(r["way"], r["task"], r["labels"], r["seed"]) for r in lines.rows}
    curves = [(t, n, s) for t in found.curves for n in labels if n + LEFT <= len(t) for s in range(SEEDS)]
    jobs: Sequence[Sequence[tuple[Task, int | str, int]]] = ([(task, FOLDED, 0) for task in found.tasks], curves)
    for part in jobs:
        for way, features in found.ways.items():
            left = [(t, n, s) for t, n, s in part if (way, t.name, n, s) not in done]
            Z = features().astype(float) if left else np.empty(0)
            for task, n, seed in track(left, way) if left else ():
                own = Z[found.rows_of(task)]
                error = folded_errors(own, task, seed) if isinstance(n, str) else curve_errors(own, task, n, seed)
                lines.append({"way": way, "task": task.name, "labels": n, "seed": seed, "error": error})


def ways_of(
    models: Mapping[str, str], crystals: Sequence[Structure], cache: Path | None
) -> dict[str, Callable[[], np.ndarray]]:
    """What this package offers: descriptors alone, each model with and without its tuned part, and all joined.

    Args:
        models: Directory of each model by its name; one that was not filled has two forms, a filled one four.
        crystals: The n crystals.
        cache: File in which embeddings are kept.
    """

    def features(**options: Any) -> np.ndarray:
        return FillFeaturizer(cache=cache, **options).fit_transform(crystals)

    forms: dict[str, dict[str, Any]] = {
        "original": {"parts": ("original",), "descriptors": False},
        "original + descriptors": {"parts": ("original",)},
        "filled": {"descriptors": False},
        "filled + descriptors": {},
    }
    every: list[tuple[str, Any]] = [*models.items()]
    if len(models) > 1:
        every.append(("joined", list(models.values())))
    filled = {name for name, path in models.items() if len(get_adapter(load_model(path)).cores) > 1}
    ways: dict[str, Callable[[], np.ndarray]] = {"descriptors": partial(features, parts=())}
    for name, model in every:
        for form, options in forms.items():
            if "original" in form or name in filled or (name == "joined" and filled):
                ways[f"{name}, {form}"] = partial(features, model=model, **options)
    return ways


def rival(path: Path, crystals: Sequence[Structure]) -> np.ndarray:
    """Features (n, k) that ``rivals.py`` wrote for these crystals, among others.

    Raises:
        InputError: A crystal is not among them.
    """
    with np.load(path) as kept:
        rows = dict(zip(kept["ids"].tolist(), kept["features"], strict=True))
    if missing := [s.formula for s in crystals if _id(s) not in rows]:
        raise InputError(f"{path} lacks {len(missing)} crystals, the first {missing[0]}; make it of all of them.")
    return np.array([rows[_id(s)] for s in crystals])


def beside(*parts: Callable[[], np.ndarray]) -> np.ndarray:
    """Features of several functions side by side."""
    return np.hstack([part() for part in parts])


def _id(structure: Structure) -> str:
    """Name of a crystal in the files of rivals."""
    return hash_structure(structure).hex()


def table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """One line a task and number of labels: error of every way, of curves with its 95 % interval over the draws."""
    ways = list(dict.fromkeys(r["way"] for r in rows))
    cases = dict.fromkeys((r["task"], r["labels"]) for r in rows)
    lines = []
    for task, labels in sorted(cases, key=lambda case: 0 if case[1] == FOLDED else case[1]):
        line = {"task": task, "labels": str(labels)}
        for way in ways:
            own = [r["error"] for r in rows if (r["way"], r["task"], r["labels"]) == (way, task, labels)]
            line[way] = f"{np.mean(own):.4g}" if own else ""
            if len(own) > 1:
                low, high = mean_interval(np.array(own))
                line[way] += f" [{low:.4g}, {high:.4g}]"
        lines.append(line)
    return lines


def ahead(rows: Sequence[Row], rival_way: str) -> list[list[str]]:
    """How every way stands to a rival on the standing tasks: tasks won, mean change of the error, worst task."""
    errors: dict[str, dict[str, float]] = {}
    for r in rows:
        if r["labels"] == FOLDED:
            errors.setdefault(r["way"], {})[r["task"]] = r["error"]
    other, shown = errors[rival_way], []
    for way, own in errors.items():
        tasks = [t for t in own if t in other]
        change = 100 * (1 - np.array([own[t] / other[t] for t in tasks]))
        low, high = mean_interval(change)
        worst = tasks[int(change.argmin())]
        cells = [f"{int((change > 0).sum())} of {len(tasks)}", f"{change.mean():+.1f} [{low:+.1f}, {high:+.1f}]"]
        shown.append([way, *cells, f"{change.min():+.1f} ({worst})"])
    return shown


def named(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=PATH`` pairs.

    Raises:
        BadParameter: A text is none.
    """
    if wrong := [t for t in texts if "=" not in t]:
        raise typer.BadParameter(f"'{wrong[0]}' is no NAME=PATH.")
    return dict(t.split("=", 1) for t in texts)


DATA = Annotated[Path, typer.Option(help="Folder of the standing tasks' labelled crystals.")]
ROWS = Annotated[int, typer.Option(min=50, help="Crystals per standing task at most.")]


@app.command()
def crystals(
    out: Annotated[Path, typer.Option("-o", "--out", help="Extended XYZ to write.")], data: DATA, rows: ROWS = 800
) -> None:
    """Write the crystals of all tasks, for rivals.py in environments of their own."""
    found = crystals_of(*read(data, rows))
    write_structures(found, out, [{"id": _id(s)} for s in found])


@app.command()
def run(
    data: DATA,
    out: Annotated[Path, typer.Option("-o", "--out", help="File of rows; what it has is not measured again.")],
    model: Annotated[list[str], typer.Option(help="NAME=DIRECTORY of a filled model; several are joined too.")],
    rivals: Annotated[list[str] | None, typer.Option("--rival", help="NAME=FILE.npz that rivals.py wrote.")] = None,
    cache: Annotated[Path | None, typer.Option(help="File in which embeddings are kept.")] = None,
    labels: Annotated[str, typer.Option(help="Numbers of labels of the curves; the largest task has 1,529.")] = LABELS,
    rows: ROWS = 800,
) -> None:
    """Errors of ridge and kernel ridge by every way: five folds of all tasks, learning curves of three."""
    tasks, curves = read(data, rows)
    sizes = numbers(labels)
    curves = curves if sizes else []
    known = crystals_of(tasks, curves)
    ways = ways_of(named(model), known, cache)
    others = {name: partial(rival, Path(path), known) for name, path in named(rivals or []).items()}
    for name, features in list(others.items()):
        others[f"{name} + descriptors"] = partial(beside, features, ways["descriptors"])
    measure(Features(tasks, curves, others | ways), sizes, Lines(out))


@app.command("table")
def table_command(
    rows: Annotated[list[Path], typer.Argument(help="Files of rows.")],
    against: Annotated[str, typer.Option(help="Way to which the others are compared.")],
    csv: Annotated[Path | None, typer.Option(help="CSV to write.")] = None,
) -> None:
    """Print how the ways stand to one of them on all tasks, and the learning curves; write all as CSV."""
    found = [row for path in rows for row in read_rows(path)]
    columns = ["way", "ahead", "change of the error %", "worst"]
    print_table(f"{len(found)} rows, against {against}; positive is better", columns, ahead(found, against))
    lines = table(found)
    shown = [line for line in lines if line["labels"] != FOLDED]
    ways = [key for key in lines[0] if key not in ("task", "labels")]
    for task in dict.fromkeys(line["task"] for line in shown):
        own = [line for line in shown if line["task"] == task]
        print_table(task, ["way", *(line["labels"] for line in own)], [[w, *(line[w] for line in own)] for w in ways])
    if csv is not None:
        atomic_write(csv, csv_text(lines))


@app.command()
def picture(
    rows: Annotated[list[Path], typer.Argument(help="Files of rows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="SVG file of the picture.")],
) -> None:
    """Draw the learning curves."""
    atomic_write(out, figure_bytes(draw_curves([row for path in rows for row in read_rows(path)]), "svg"))
