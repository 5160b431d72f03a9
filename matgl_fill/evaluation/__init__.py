"""Evaluation of embeddings on downstream tasks, of potentials on labels and by their physics; comparison of models."""

from __future__ import annotations

from matgl_fill.evaluation.physics import (
    PhysicsComparison,
    PhysicsResult,
    PhysicsRow,
    compare_physics,
    evaluate_physics,
    made_of,
)
from matgl_fill.evaluation.potential import (
    ErrorChange,
    LabelComparison,
    LabelErrors,
    compare_errors,
    potential_errors,
)
from matgl_fill.evaluation.probes import PROBES
from matgl_fill.evaluation.scores import Change, Comparison, Score, compare, evaluate, score_rows
from matgl_fill.evaluation.tasks import Task, make_task, read_tasks, usable_tasks

__all__ = [
    "PROBES",
    "Change",
    "Comparison",
    "ErrorChange",
    "LabelComparison",
    "LabelErrors",
    "PhysicsComparison",
    "PhysicsResult",
    "PhysicsRow",
    "Score",
    "Task",
    "compare",
    "compare_errors",
    "compare_physics",
    "evaluate",
    "evaluate_physics",
    "made_of",
    "make_task",
    "potential_errors",
    "read_tasks",
    "score_rows",
    "usable_tasks",
]
