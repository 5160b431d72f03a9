"""Continued pretraining that improves the embedding where it is poor and keeps the rest."""

from __future__ import annotations

from matgl_fill.guard.guard import Check, Guard, Verdict
from matgl_fill.training.labels.labelled import LabelledCrystals, read_labelled
from matgl_fill.training.labels.oracle import Labels, Source, elemental_shifts, label, resolve
from matgl_fill.training.module import FillModule, fit
from matgl_fill.training.objectives import Objective, OracleObjective, ReadoutObjective, Standardiser
from matgl_fill.training.registry import Material, objective_names, register_objective
from matgl_fill.training.replay import Replay

__all__ = [
    "Check",
    "FillModule",
    "Guard",
    "LabelledCrystals",
    "Labels",
    "Material",
    "Objective",
    "OracleObjective",
    "ReadoutObjective",
    "Replay",
    "Source",
    "Standardiser",
    "Verdict",
    "elemental_shifts",
    "fit",
    "label",
    "objective_names",
    "read_labelled",
    "register_objective",
    "resolve",
]
