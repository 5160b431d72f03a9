"""Sections of the report on a potential's errors, from what was measured before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from matgl_fill.evaluation import (
    ErrorChange,
    LabelErrors,
    PhysicsResult,
    compare_errors,
    compare_physics,
)
from matgl_fill.report.model import ErrorRow, LabelErrorsSection, ParityPoints, PhysicsSection

PARITY_POINTS = 1000
"""Largest number of points of a parity plot."""


def label_errors_section(before: LabelErrors, after: LabelErrors) -> LabelErrorsSection:
    """Make the section on labels, from the errors of both models on the same crystals.

    Raises:
        InputError: They are not of the same crystals.
    """
    found = compare_errors(before, after)
    return LabelErrorsSection(
        crystals=len(before),
        errors=_error_rows(found.changes),
        slope_before=found.slope_before,
        slope_after=found.slope_after,
        energy=_points(before.energy[0], before.energy[1], after.energy[1]),
        forces=_points(before.forces[0].ravel(), before.forces[1].ravel(), after.forces[1].ravel()),
    )


def physics_section(before: PhysicsResult, after: PhysicsResult) -> PhysicsSection:
    """Make the section on physics, from the results of both models on the same crystals.

    Raises:
        InputError: They are not of the same crystals.
    """
    found = compare_physics(before, after)
    return PhysicsSection(
        errors=_error_rows(found.changes),
        failed_before=sum(found.failed_before.values()),
        failed_after=sum(found.failed_after.values()),
        failed_both=sum(found.failed_both.values()),
    )


def _error_rows(changes: Sequence[ErrorChange]) -> list[ErrorRow]:
    return [ErrorRow(**asdict(change)) for change in changes]


def _points(true: np.ndarray, before: np.ndarray, after: np.ndarray) -> ParityPoints:
    """At most ``PARITY_POINTS`` of the values that have a label, in five significant digits."""
    rows = np.flatnonzero(~np.isnan(true))
    if len(rows) > PARITY_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, PARITY_POINTS, replace=False))
    columns = [[float(f"{x:.5g}") for x in values[rows]] for values in (true, before, after)]
    return ParityPoints(true=columns[0], before=columns[1], after=columns[2])
