"""Downstream tasks: crystals with one measured property each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure
from scipy.stats import skew

from matgl_fill.errors import InputError
from matgl_fill.io import read_structures

MIN_ROWS = 50
"""Labels with fewer finite values than this are not a task."""


@dataclass(frozen=True)
class Task:
    """A property to predict from frozen embeddings.

    Attributes:
        name: short name, ``log`` in front when the logarithm is predicted.
        unit: unit of the target.
        structures: crystals, n of them.
        y: (n,) target.
        groups: (n,) formula of each crystal; folds never split a formula.
    """

    name: str
    unit: str
    structures: Sequence[Structure]
    y: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        """Number of labelled crystals."""
        return len(self.y)


def heavy_tailed(y: np.ndarray) -> bool:
    """True for strictly positive values with skewness above 1: their logarithm is predicted instead."""
    return bool(y.min() > 0 and skew(y) > 1)


def make_task(name: str, structures: Sequence[Structure], y: np.ndarray) -> Task:
    """A task from one label column; heavy-tailed positive columns are taken in log10.

    Args:
        name: column name; a trailing unit as in ``bulk_modulus_GPa`` is recognised.
        structures: crystals.
        y: (n,) values, finite.

    Raises:
        InputError: lengths differ, or a value is not finite.
    """
    if len(structures) != len(y) or not np.isfinite(y).all():
        raise InputError(f"task '{name}': needs one finite value per structure ({len(structures)} and {len(y)} given).")
    match = re.match(r"(.+?)_((?:eV|GPa|A3|THz|J|C|per_cm)(?:_per_.*)?)$", name)
    label, unit = (match[1], match[2].replace("_per_", "/")) if match else (name, "")
    log = heavy_tailed(y)
    label = label.removeprefix("log_").replace("_", " ")
    formulas = np.array([s.composition.reduced_formula for s in structures])
    if log:
        return Task(f"log {label}", f"log10 {unit}".strip(), structures, np.log10(y), formulas)
    return Task(label, unit, structures, np.asarray(y, dtype=float), formulas)


def read_tasks(source: Any, labels: Sequence[str] | None = None) -> list[Task]:
    """Every numeric label of a file of crystals as a task.

    Args:
        source: anything :func:`matgl_fill.io.read_structures` takes, with labels; or a list of :class:`Task`.
        labels: columns to use, default all with at least ``MIN_ROWS`` values.

    Raises:
        InputError: no such label, or no label at all.
    """
    if isinstance(source, list | tuple) and source and all(isinstance(t, Task) for t in source):
        return list(source)
    data = read_structures(source)
    missing = set(labels or ()) - set(data.labels)
    if missing:
        raise InputError(f"no label {sorted(missing)} in {source}; there are {sorted(data.labels)}.")
    tasks = []
    for name in labels or data.labels:
        y = data.labels[name]
        rows = np.flatnonzero(np.isfinite(y))
        if len(rows) >= MIN_ROWS:
            tasks.append(make_task(name, [data.structures[i] for i in rows], y[rows]))
    if not tasks:
        raise InputError(f"no label with at least {MIN_ROWS} values in {source}; a task needs numeric columns.")
    return tasks
