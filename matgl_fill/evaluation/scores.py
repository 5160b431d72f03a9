"""Scores of an embedding on downstream tasks, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table
from torch import nn

from matgl_fill.adapters import get_adapter
from matgl_fill.errors import InputError
from matgl_fill.evaluation.intervals import mean_interval
from matgl_fill.evaluation.probes import PROBES, cross_validated_mae, median_mae
from matgl_fill.evaluation.tasks import Task, read_tasks, usable_tasks, warn_skipped
from matgl_fill.structures import describe_structures
from matgl_fill.utils.console import track
from matgl_fill.utils.validation import as_int

SEEDS = 5
"""Number of fold shuffles of every score."""


@dataclass(frozen=True)
class Score:
    """Probe errors on one task.

    Attributes:
        task: Name of the task.
        unit: Unit of the errors.
        n: Number of labelled crystals.
        mae: Mean absolute error (seeds,) over 5 formula-grouped folds, by name of the probe.
        one_value: Mean absolute error of one value for all crystals, the median, over the same folds.
    """

    task: str
    unit: str
    n: int
    mae: dict[str, np.ndarray]
    one_value: float

    @property
    def mean(self) -> float:
        """Mean error over probes and seeds."""
        return float(np.mean([errors.mean() for errors in self.mae.values()]))

    @property
    def interval(self) -> tuple[float, float]:
        """Bootstrap 95 % interval of the mean error over fold shuffles."""
        return mean_interval(np.mean([self.mae[p] for p in PROBES], axis=0))


@dataclass(frozen=True)
class Change:
    """Relative change of the error on one task; positive is better.

    Attributes:
        task: Name of the task.
        unit: Unit of the errors.
        n: Number of labelled crystals.
        mae_before: Mean absolute error before, over probes and seeds.
        mae_after: Mean absolute error after, over probes and seeds.
        change_percent: Mean over probes and seeds of 100 (1 - after/before), paired by fold shuffle.
        low: Lower end of the bootstrap 95 % interval of that mean over fold shuffles.
        high: Upper end of that interval.
        probes: Change of each probe, percent.
        one_value: Mean absolute error of one value for all crystals, the median.
    """

    task: str
    unit: str
    n: int
    mae_before: float
    mae_after: float
    change_percent: float
    low: float
    high: float
    probes: dict[str, float]
    one_value: float


@dataclass(frozen=True)
class Comparison:
    """Changes on all tasks, with their mean and the worst."""

    changes: tuple[Change, ...]

    @property
    def mean(self) -> float:
        """Mean change over tasks, percent."""
        return float(np.mean([c.change_percent for c in self.changes]))

    @property
    def worst(self) -> Change:
        """Change of the task that gained least or lost most."""
        return min(self.changes, key=lambda c: c.change_percent)

    def __rich__(self) -> Table:
        """Table for the terminal."""
        worst = self.worst
        table = Table(
            title=f"MAE change: mean {self.mean:+.1f} %, worst {worst.change_percent:+.1f} % ({worst.task})",
            caption=remark_on_one_value((c.task, c.mae_after, c.one_value) for c in self.changes) or None,
            caption_justify="left",
        )
        for name, align in (("task", "left"), ("n", "right"), ("before", "right"), ("after", "right")):
            table.add_column(name, justify=align)  # type: ignore[arg-type]
        for name in ("change %", "95 % interval", *PROBES):
            table.add_column(name, justify="right")
        for c in self.changes:
            probes = [f"{c.probes[p]:+.1f}" for p in PROBES]
            interval = f"{c.low:+.1f} to {c.high:+.1f}"
            row = [c.task, str(c.n), f"{c.mae_before:.4g}", f"{c.mae_after:.4g}", f"{c.change_percent:+.1f}"]
            table.add_row(*row, interval, *probes)
        return table


def remark_on_one_value(errors: Iterable[tuple[str, float, float]]) -> str:
    """A sentence on the tasks that one value for all crystals predicts better than the probes do; empty if none is.

    Args:
        errors: Name of each task, error of the probes on it, and error of one value for all crystals.
    """
    names = [name for name, probes, one_value in errors if one_value < probes]
    if not names:
        return ""
    told = ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]
    return (
        f"One value for all crystals, the median of the labels, errs less on {told} than the probes do: "
        "a change there says little about the embedding."
    )


def score_embedding(Z: np.ndarray, task: Task, seeds: int = SEEDS, probes: Sequence[str] = PROBES) -> Score:
    """Score an embedding (n, dim), whose rows are the task's crystals, by probes."""
    runs = [cross_validated_mae(Z, task.y, task.groups, seed, probes) for seed in range(seeds)]
    one_value = np.mean([median_mae(task.y, task.groups, seed) for seed in range(seeds)])
    return Score(task.name, task.unit, len(task), {p: np.array([r[p] for r in runs]) for p in probes}, float(one_value))


def evaluate(model: nn.Module, tasks: Any, seeds: int = SEEDS, descriptors: bool = False) -> list[Score]:
    """Measure how well probes on the frozen embedding of ``model`` predict downstream properties.

    The probes are ridge and Gaussian kernel ridge regression on standardised embeddings, with penalties and width
    chosen inside each training part. They are cross-validated over 5 folds that never split a formula, in ``seeds``
    shuffles. Crystals that the model cannot take are left out, and
    a warning says which; ``n`` of a score counts the others.

    Args:
        model: Any MatGL model that :func:`matgl_fill.get_adapter` serves.
        tasks: List of :class:`Task`, or a file of crystals with numeric labels.
        seeds: Number of fold shuffles.
        descriptors: Concatenate :func:`matgl_fill.describe` to the embedding; a tuned model must beat the original
            this way too, or it has only learned what plain concatenation gives.

    Returns:
        One :class:`Score` per task, in order.

    Raises:
        InputError: There are no labels, fewer formulas than folds, or the labels are all the same.
    """
    if as_int("seeds", seeds) < 1:
        raise InputError(f"seeds is {seeds}; give at least 1.")
    adapter = get_adapter(model)
    usable, skipped = usable_tasks(adapter, read_tasks(tasks))
    warn_skipped(skipped)
    scores = []
    for task in track(usable, "probing downstream tasks"):
        Z = adapter.embed_graphs(adapter.graphs(task.structures))[0]
        if descriptors:
            Z = np.hstack([Z, describe_structures(task.structures)])
        scores.append(score_embedding(Z, task, seeds))
    return scores


def compare(before: Any, after: Any, tasks: Any = None, seeds: int = SEEDS) -> Comparison:
    """Change of the probes' errors from one model to another.

    Args:
        before: Model, or its scores from :func:`evaluate`.
        after: Model, or its scores.
        tasks: Tasks as in :func:`evaluate`; not needed where both are scores.
        seeds: Number of fold shuffles.

    Raises:
        InputError: The scores are not of the same tasks and crystals.
    """
    first = evaluate(before, tasks, seeds) if isinstance(before, nn.Module) else before
    second = evaluate(after, tasks, seeds) if isinstance(after, nn.Module) else after
    if [(s.task, s.n) for s in first] != [(s.task, s.n) for s in second]:
        raise InputError("scores of different tasks or crystals cannot be compared; evaluate both models on the same.")
    return Comparison(tuple(_change(a, b) for a, b in zip(first, second, strict=True)))


def _change(before: Score, after: Score) -> Change:
    relative = np.array([100 * (1 - after.mae[p] / before.mae[p]) for p in before.mae])
    per_seed = relative.mean(axis=0)
    probes = dict(zip(before.mae, relative.mean(axis=1).tolist(), strict=True))
    change = (float(per_seed.mean()), *mean_interval(per_seed))
    return Change(before.task, before.unit, before.n, before.mean, after.mean, *change, probes, after.one_value)


def score_rows(scores: Sequence[Score], comparison: Comparison | None = None) -> list[dict[str, Any]]:
    """Rows of a table of scores, with their change against another model where it was compared.

    Args:
        scores: Scores on m tasks.
        comparison: Comparison on the same m tasks, from another model to this one.

    Returns:
        The m rows: ``task``, ``unit``, ``n``, ``mae`` with ``mae_low`` and ``mae_high``, the error of each probe; and
        ``mae_against``, ``change_percent`` with ``change_low`` and ``change_high``.
    """
    rows = []
    for k, s in enumerate(scores):
        low, high = s.interval
        row: dict[str, Any] = {
            "task": s.task,
            "unit": s.unit,
            "n": s.n,
            "mae": s.mean,
            "mae_low": low,
            "mae_high": high,
        }
        row |= {f"mae_{p.replace(' ', '_')}": float(s.mae[p].mean()) for p in PROBES}
        if comparison is not None:
            c = comparison.changes[k]
            row |= {"mae_against": c.mae_before, "change_percent": c.change_percent}
            row |= {"change_low": c.low, "change_high": c.high}
        rows.append(row)
    return rows
