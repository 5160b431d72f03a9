"""The guard, which hands over a tuned model only if it keeps what the original could do."""

from __future__ import annotations

from matgl_fill.guard.checks import Check, significant_loss
from matgl_fill.guard.guard import Guard, Verdict
from matgl_fill.guard.labels import CrystalClass, Drift, Fold, LabelGuard, LabelVerdict, folds_by_formula
from matgl_fill.guard.package_crystals import package_crystals

__all__ = [
    "Check",
    "CrystalClass",
    "Drift",
    "Fold",
    "Guard",
    "LabelGuard",
    "LabelVerdict",
    "Verdict",
    "folds_by_formula",
    "package_crystals",
    "significant_loss",
]
