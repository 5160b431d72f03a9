"""Evaluation: of embeddings on downstream tasks, of potentials on labels, and how two models compare."""

from __future__ import annotations

from matgl_fill.evaluation.potential import (
    ErrorChange,
    LabelComparison,
    LabelErrors,
    compare_errors,
    potential_errors,
)
from matgl_fill.evaluation.probes import PROBES
from matgl_fill.evaluation.scores import Change, Comparison, Score, compare, evaluate, score_rows
from matgl_fill.evaluation.tasks import Task, make_task, read_tasks, tasks_named, usable_tasks

__all__ = [
    "PROBES",
    "Change",
    "Comparison",
    "ErrorChange",
    "LabelComparison",
    "LabelErrors",
    "Score",
    "Task",
    "compare",
    "compare_errors",
    "evaluate",
    "make_task",
    "potential_errors",
    "read_tasks",
    "score_rows",
    "tasks_named",
    "usable_tasks",
]
