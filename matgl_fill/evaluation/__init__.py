"""Evaluation of embeddings: downstream tasks, probes on frozen embeddings, their scores and how these compare."""

from __future__ import annotations

from matgl_fill.evaluation.probes import PROBES
from matgl_fill.evaluation.scores import Change, Comparison, Score, compare, evaluate, score_rows
from matgl_fill.evaluation.tasks import Task, make_task, read_tasks, tasks_named, usable_tasks

__all__ = [
    "PROBES",
    "Change",
    "Comparison",
    "Score",
    "Task",
    "compare",
    "evaluate",
    "make_task",
    "read_tasks",
    "score_rows",
    "tasks_named",
    "usable_tasks",
]
