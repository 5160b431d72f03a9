"""Standard fine-tuning, which fill-tuning is compared with, and the comparison's short form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.benchmarks.evidence import finetuning
from examples.benchmarks.evidence.finetuning import fine_tune, split
from examples.benchmarks.evidence.suite import Suite
from examples.benchmarks.tests.commands import command
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Task

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def task():
    return next(t for t in Suite.of_file("default", 60).tasks if t.name == "log max phonon frequency")


def test_no_formula_is_learnt_from_and_tested_on(task):
    groups = np.array([f"formula {i // 3}" for i in range(len(task))])
    rows, test = split(Task(task.name, task.unit, task.structures, task.y, groups), 20, seed=0)
    assert len(rows) == 20
    assert not set(groups[rows]) & set(groups[test])
    with pytest.raises(InputError, match="leave none to test on"):
        split(task, len(task), seed=0)


def test_fine_tuning_learns_what_it_was_shown_and_leaves_the_model(model, task, monkeypatch):
    monkeypatch.setattr(finetuning, "EPOCHS", 30)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    rows = np.arange(50)
    tuned = fine_tune(model, task, rows, rows[10:], seed=0)
    assert tuned.error < 0.9 * tuned.start
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_the_command_compares_costs_and_tasks(monkeypatch, tmp_path):
    monkeypatch.setattr(finetuning, "EPOCHS", 2)
    words = "finetune default default --tasks default -n 2 --seeds 0 --rows 40 --train 20 --set steps=2 --set copies=0"
    said = command(*words.split(), "--json", tmp_path / "figures.jsonl")
    assert "ratio" in said
    (row,) = finetuning.Lines(tmp_path / "figures.jsonl").rows
    first = row["rows"][0]
    assert first["original"]["epochs"] == 2
    assert set(first["others, fine-tuned"]) == {"mean", "worst"}
    assert row["seconds"] > 0


def test_the_kept_comparison_is_the_table_of_the_results(tmp_path):
    kept = ROOT / "examples/benchmarks/results/finetuning.jsonl"
    command("finetune-table", kept, "--csv", tmp_path / "finetuning.csv")
    assert (tmp_path / "finetuning.csv").read_text() == (ROOT / "docs/results/finetuning.csv").read_text()
