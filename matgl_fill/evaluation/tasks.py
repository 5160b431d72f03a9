"""Downstream tasks: crystals with one measured property each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from scipy.stats import skew

from matgl_fill.adapters import Adapter
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.evaluation.probes import FOLDS
from matgl_fill.structures import Skipped, formulas_of, read_structures
from matgl_fill.structures.bundled import EVALUATION, TASKS
from matgl_fill.utils.counting import counted

MIN_ROWS = 50
"""Labels with fewer finite values than this are not a task."""


@dataclass(frozen=True)
class Task:
    """A property to predict from frozen embeddings.

    Attributes:
        name: Short name, with ``log`` in front when the logarithm is predicted.
        unit: Unit of the target.
        structures: The n crystals.
        y: Target (n,).
        groups: Formula (n,) of each crystal; folds never split a formula.
    """

    name: str
    unit: str
    structures: Sequence[Structure]
    y: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        """Number of labelled crystals."""
        return len(self.y)

    @property
    def unsupported_reason(self) -> str | None:
        """Reason why no probe can learn from the task, or None."""
        if (formulas := len(np.unique(self.groups))) < FOLDS:
            return f"has {counted(formulas, 'formula')}, fewer than the {FOLDS} folds"
        return "has the same value everywhere" if np.ptp(self.y) == 0 else None

    def check(self) -> None:
        """Check that a probe can learn from the task.

        Raises:
            InputError: The task holds too few formulas, or one value only.
        """
        if self.unsupported_reason:
            raise InputError(f"task '{self.name}' {self.unsupported_reason}; leave it out or give more crystals.")

    def subset(self, rows: Sequence[int] | np.ndarray) -> Task:
        """Select some of the task's crystals."""
        crystals = [self.structures[i] for i in rows]
        return Task(self.name, self.unit, crystals, self.y[rows], self.groups[rows])


def heavy_tailed(y: np.ndarray) -> bool:
    """Whether values are strictly positive with skewness above 1; their logarithm is predicted instead."""
    return bool(y.min() > 0 and np.ptp(y) > 0 and skew(y) > 1)


def make_task(name: str, structures: Sequence[Structure], y: np.ndarray) -> Task:
    """Make a task of one label column; heavy-tailed positive columns are taken in log10.

    Args:
        name: Name of the column; a trailing unit as in ``bulk_modulus_GPa`` is recognised.
        structures: The n crystals.
        y: Values (n,), finite.

    Raises:
        InputError: Lengths differ, or a value is not finite.
    """
    y = np.asarray(y)
    if len(structures) != len(y) or y.dtype.kind not in "biuf" or not np.isfinite(y).all():
        raise InputError(
            f"task '{name}' has {len(y)} values for {len(structures)} structures; give one finite value for each."
        )
    match = re.match(r"(.+?)_((?:eV|GPa|A3|THz|J|C|per_cm)(?:_per_.*)?)$", name)
    label, unit = (match[1], match[2].replace("_per_", "/")) if match else (name, "")
    log = heavy_tailed(y)
    label = label.removeprefix("log_").replace("_", " ")
    formulas = np.array(formulas_of(structures))
    if log:
        return Task(f"log {label}", f"log10 {unit}".strip(), structures, np.log10(y), formulas)
    if name.startswith("log_"):
        label, unit = f"log {label}", f"log {unit}".strip()
    return Task(label, unit, structures, y.astype(float), formulas)


def read_tasks(source: Any, labels: Sequence[str] | None = None) -> list[Task]:
    """Read every numeric label of a file of crystals as a task; a warning says what cannot be read.

    Args:
        source: Anything :func:`matgl_fill.read_structures` takes, with labels; ``"default"`` for the three tasks of the
            package; or a list of :class:`Task`.
        labels: Columns to use; by default all with at least ``MIN_ROWS`` values.

    Raises:
        InputError: There is no such label, no label at all, or one that was asked for has too few values to learn
            from.
    """
    if isinstance(source, list | tuple) and source and all(isinstance(t, Task) for t in source):
        return list(source)
    if isinstance(source, str) and source == "default":
        return read_tasks(EVALUATION, TASKS)
    data = read_structures(source)
    warn_skipped(data.skipped)
    where = str(source) if isinstance(source, str | Path) else "what was given"
    missing = set(labels or ()) - set(data.labels)
    if missing:
        raise InputError(f"no label {sorted(missing)} in {where}; there are {sorted(data.labels)}.")
    tasks = []
    for name in labels or data.labels:
        y = data.labels[name]
        rows = np.flatnonzero(np.isfinite(y))
        if len(rows) < MIN_ROWS:
            few = f"{counted(len(rows), 'value')}, and a task needs {MIN_ROWS}"
            if labels:
                raise InputError(f"label '{name}' has {few}; leave it out or give more.")
            warnings.warn(f"label '{name}' is not evaluated: it has {few}", MatglFillWarning, stacklevel=2)
            continue
        task = make_task(name, [data.structures[i] for i in rows], y[rows])
        if labels:
            task.check()
        if task.unsupported_reason:
            warnings.warn(
                f"label '{name}' is not evaluated: it {task.unsupported_reason}", MatglFillWarning, stacklevel=2
            )
        else:
            tasks.append(task)
    if not tasks:
        raise InputError(f"no label with at least {MIN_ROWS} values in {where}; a task needs numeric columns.")
    return tasks


def warn_skipped(skipped: Sequence[Skipped]) -> None:
    """Warn of crystals that were left out of tasks."""
    if skipped:
        one = f"first: {skipped[0].where}: {skipped[0].reason}"
        warnings.warn(
            f"{counted(len(skipped), 'crystal')} left out of the tasks; {one}", MatglFillWarning, stacklevel=3
        )


def usable_tasks(adapter: Adapter, tasks: Sequence[Task]) -> tuple[list[Task], list[Skipped]]:
    """Reduce tasks to the crystals that a model can take; also returns what was left out and why.

    Raises:
        InputError: No probe can learn from what is left of a task.
    """
    kept: list[Task] = []
    skipped: list[Skipped] = []
    for task in tasks:
        names = (f"task '{task.name}', {s.formula}" for s in task.structures)
        usable = usable_crystals(adapter, names, task.structures)
        skipped += usable.skipped
        kept.append(task.subset(usable.rows))
        kept[-1].check()
    return kept, skipped
