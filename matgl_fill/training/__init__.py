"""Continued pretraining, which improves the embedding where it is poor and keeps the rest."""

from __future__ import annotations

from matgl_fill.training.build import Alignment, ObjectiveSet, build_objectives
from matgl_fill.training.judgement import Judgement
from matgl_fill.training.labels import (
    LabelKeys,
    LabelledCrystals,
    LabelledSet,
    Labels,
    Oracle,
    Source,
    elemental_shifts,
    label,
    read_labelled,
    resolve,
)
from matgl_fill.training.module import FillModule, fit
from matgl_fill.training.objectives import Objective, OracleObjective, ReadoutObjective, standard_scaling
from matgl_fill.training.potential.tune import PotentialOutcome
from matgl_fill.training.registry import ObjectiveContext, objective_names, register_objective
from matgl_fill.training.replay import Replay
from matgl_fill.training.train import TrainingOutcome, train_copy

__all__ = [
    "Alignment",
    "FillModule",
    "Judgement",
    "LabelKeys",
    "LabelledCrystals",
    "LabelledSet",
    "Labels",
    "Objective",
    "ObjectiveContext",
    "ObjectiveSet",
    "Oracle",
    "OracleObjective",
    "PotentialOutcome",
    "ReadoutObjective",
    "Replay",
    "Source",
    "TrainingOutcome",
    "build_objectives",
    "elemental_shifts",
    "fit",
    "label",
    "objective_names",
    "read_labelled",
    "register_objective",
    "resolve",
    "standard_scaling",
    "train_copy",
]
