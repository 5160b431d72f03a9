"""Fill-tuning beside standard fine-tuning: what each costs, what it brings, and what becomes of the other tasks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from matgl.utils.training import ModelLightningModule
from rich.table import Table
from torch import Tensor, nn

from examples.benchmarks.common.fitting import fit_quietly, split_loaders
from examples.benchmarks.common.options import numbers, settings_of
from examples.benchmarks.common.printing import console, new_table
from examples.benchmarks.common.rows import Lines, read_rows
from examples.benchmarks.evidence.suite import PLAIN, Suite
from matgl_fill import fill_tune, get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Task
from matgl_fill.evaluation.intervals import mean_interval
from matgl_fill.structures import csv_text
from matgl_fill.training.data import unpack
from matgl_fill.training.objectives import fitted_head, standard_scaling
from matgl_fill.utils.console import track
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.scaling import Scaling

TUNED_ON = ("log K_VRH_2015_GPa", "heat_capacity_300K_per_atom_J_per_mol_K", "heat_of_formation_eV")
"""Tasks of the suite that are fine-tuned on: a mechanical, a vibrational and a thermodynamic one."""
VALIDATION = 0.2
"""Of the labelled crystals, on which early stopping decides."""
BATCH, RATE, EPOCHS, PATIENCE = 10, 1e-3, 1000, 100
"""Of a standard fine-tuning: Adam as MatGL has it, until the validation error has not fallen for PATIENCE epochs."""


class FineTuning(ModelLightningModule):
    """MatGL's training of a property model, with a linear head on the embedding in place of the old readout.

    Args:
        adapter: of the model, which is trained in place.
        head: (dim -> 1), standardised property from the standardised embedding.
        scale: standardises the embedding.
        y: (n,) standardised property of the labelled crystals.
    """

    def __init__(self, adapter: Adapter, head: nn.Linear, scale: Scaling[Tensor], y: Tensor) -> None:
        super().__init__(model=adapter.model, lr=RATE, decay_steps=EPOCHS)
        self.head = head
        self._adapter, self._scale, self._y = adapter, scale, y

    def save_hyperparameters(self, *_: Any, **__: Any) -> None:
        """Save none: with model and labels among them a checkpoint could not be loaded as weights only."""

    def predict(self, embedding: Tensor) -> Tensor:
        """(B,) standardised property of crystals with an embedding (B, dim)."""
        return self.head(self._scale(embedding)).squeeze(-1)

    def step(self, batch: tuple) -> tuple[dict[str, Any], int]:
        """Loss and errors of one batch."""
        crystals, rows = unpack(batch, self._adapter)
        preds = self.predict(self._adapter.embed_batch(crystals))
        return self.loss_fn(self.loss, self._y[rows], preds), len(rows)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model.

    Attributes:
        model: copy of the model, trained.
        error: mean absolute error on the test crystals, in the unit of the task.
        start: the same before training, by the linear head alone.
        epochs: until early stopping.
        seconds: wall time, graphs included.
    """

    model: nn.Module
    error: float
    start: float
    epochs: int
    seconds: float


def split(task: Task, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of labelled crystals and of test crystals, no formula in both.

    Args:
        task: that is fine-tuned on.
        size: labelled crystals.
        seed: of the draw.

    Raises:
        InputError: no crystal would be left to test on.
    """
    order = np.random.default_rng(seed).permutation(len(task))
    rows = order[:size]
    test = np.setdiff1d(np.flatnonzero(~np.isin(task.groups, task.groups[rows])), rows)
    if not len(test):
        raise InputError(f"{task.name} has {len(task)} crystals; {size} to learn from leave none to test on.")
    return rows, test


def fine_tune(model: nn.Module, task: Task, rows: np.ndarray, test: np.ndarray, seed: int) -> Tuned:
    """Fine-tune a copy of a model on labelled crystals the usual way, all weights and a new head.

    The head starts as the ridge regression on the frozen embedding, so that training cannot begin worse than that.

    Args:
        model: MatGL model, left as it is.
        task: property.
        rows: crystals of the task to learn from; a fifth of them decides when to stop.
        test: crystals of the task to test on.
        seed: of the training.
    """
    adapter = get_adapter(model).clone()
    tested = adapter.graphs([task.structures[i] for i in test])
    untrained = adapter.embed_graphs(tested)[0]
    start = time.perf_counter()
    graphs = adapter.graphs([task.structures[i] for i in rows])
    held = max(round(VALIDATION * len(rows)), 1)
    Z = torch.tensor(adapter.embed_graphs(graphs)[0])
    mean, std = task.y[rows].mean(), max(float(task.y[rows].std()), 1e-9)
    y = torch.tensor((task.y[rows] - mean) / std, dtype=torch.float32)
    scale = standard_scaling(Z[held:].numpy())
    module = FineTuning(adapter, fitted_head(scale(Z[held:]), y[held:, None]), scale, y)

    def error(embedding: np.ndarray) -> float:
        with torch.no_grad():
            values = module.predict(torch.tensor(embedding)).numpy().astype(float)
        return float(np.abs(values * std + mean - task.y[test]).mean())

    before = error(untrained)
    epochs = _train(module, graphs, held, seed)
    seconds = time.perf_counter() - start
    return Tuned(adapter.model, error(adapter.embed_graphs(tested)[0]), before, epochs, round(seconds, 1))


def _train(module: FineTuning, graphs: Sequence[Any], held: int, seed: int) -> int:
    """Train until early stopping, take the best weights, give the number of epochs."""
    loaders = split_loaders(graphs, range(held, len(graphs)), range(held), BATCH, seed)
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val_MAE", save_weights_only=True)
        stop = EarlyStopping("val_MAE", patience=PATIENCE)
        trainer = fit_quietly(module, loaders, EPOCHS, enable_progress_bar=False, callbacks=[stop, best])
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    return int(trainer.current_epoch)


def probe_errors(suite: Suite, model: nn.Module) -> dict[str, float]:
    """Mean error of the probes on the frozen embedding, for every task of the suite."""
    rows = suite.scores({PLAIN: suite.embed(model)}, folds=1)
    return {row["task"]: float(np.mean(list(row[PLAIN].values()))) for row in rows}


def change_of_others(before: dict[str, float], after: dict[str, float], task: str) -> dict[str, float]:
    """Change of all errors but the task's in percent, positive is better: mean and worst.

    Example:
        >>> change_of_others({"a": 1.0, "b": 2.0, "c": 1.0}, {"a": 0.1, "b": 1.0, "c": 1.1}, "a")
        {'mean': 20.0, 'worst': -10.0}
    """
    changes = [100 * (1 - after[name] / before[name]) for name in before if name != task]
    return {"mean": round(float(np.mean(changes)), 2), "worst": round(min(changes), 2)}


def compare_tuning(
    model: nn.Module, filled: nn.Module, suite: Suite, names: Sequence[str], size: int, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Fine-tune the original and the fill-tuned model on each task.

    Args:
        model: original.
        filled: fill-tuned.
        suite: tasks; the first seed's fine-tuned originals are probed on all others.
        names: tasks that are fine-tuned on.
        size: labelled crystals.
        seeds: of draws and trainings.

    Returns:
        One row a task and seed: errors of both, before and after, epochs, seconds, and for the first seed the change of
        the other tasks in percent, mean and worst, after fine-tuning and after fill-tuning.

    Raises:
        InputError: no such task, or too few crystals.
    """
    by_name = {t.name: t for t in suite.tasks}
    if unknown := [n for n in names if n not in by_name]:
        raise InputError(f"no task '{unknown[0]}'; there are {', '.join(by_name)}.")
    rows: list[dict[str, Any]] = []
    probed = {"original": probe_errors(suite, model), "fill-tuned": probe_errors(suite, filled)}
    for name, seed in track([(n, s) for s in seeds for n in names], "fine-tuning"):
        parts = split(by_name[name], size, seed)
        tuned = {arm: fine_tune(m, by_name[name], *parts, seed) for arm, m in (("original", model), ("filled", filled))}
        row: dict[str, Any] = {"task": name, "seed": seed}
        for arm, found in tuned.items():
            row[arm] = {k: v for k, v in vars(found).items() if k != "model"}
        if seed == seeds[0]:
            probed["fine-tuned"] = probe_errors(suite, tuned["original"].model)
            for arm in ("fine-tuned", "fill-tuned"):
                row[f"others, {arm}"] = change_of_others(probed["original"], probed[arm], name)
        rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]], size: int) -> list[dict[str, str]]:
    """One line a task: means over seeds, and the change of the error with its 95 % interval over them."""
    lines = []
    for name in dict.fromkeys(r["task"] for r in rows):
        own = [r for r in rows if r["task"] == name]
        first, last = (np.array([r[arm]["error"] for r in own]) for arm in ("original", "filled"))
        change = 100 * (1 - last / first)
        interval = " [{:+.1f}, {:+.1f}]".format(*mean_interval(change)) if len(own) > 1 else ""
        line = {
            f"fine-tuned on {size} labels of": name,
            "seeds": str(len(own)),
            "test error from the original": f"{first.mean():.4g}",
            "from the fill-tuned model": f"{last.mean():.4g}",
            "change %": f"{change.mean():+.1f}{interval}",
            "worst seed %": f"{change.min():+.1f}",
            "epochs": f"{np.mean([r['original']['epochs'] for r in own]):.0f}",
            "seconds": f"{np.mean([r['original']['seconds'] for r in own]):.0f}",
        }
        for arm in ("fine-tuned", "fill-tuned"):
            others = own[0][f"others, {arm}"]
            line[f"other tasks, {arm} %"] = f"{others['mean']:+.1f} (worst {others['worst']:+.1f})"
        lines.append(line)
    return lines


def _table(rows: Sequence[dict[str, Any]], seconds: float, size: int) -> Table:
    cost, lines = float(np.mean([r["original"]["seconds"] for r in rows])), summary(rows, size)
    title = f"fill-tuning {seconds:.0f} s, standard fine-tuning on {size} labelled crystals {cost:.0f} s on average: "
    table = new_table(title + f"ratio {seconds / cost:.2f}", tuple(lines[0]))
    for line in lines:
        table.add_row(*line.values())
    return table


def finetune_table(
    file: Annotated[Path, typer.Argument(help="File that finetune --json wrote; its last line is shown.")],
    csv: Annotated[Path | None, typer.Option(help="CSV to write.")] = None,
) -> None:
    """Print a kept comparison with standard fine-tuning, and write it as CSV."""
    row = read_rows(file)[-1]
    console.print(_table(row["rows"], row["seconds"], row["train"]))
    if csv is not None:
        atomic_write(csv, csv_text(summary(row["rows"], row["train"])))


def finetune(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    pool: Annotated[str, typer.Argument(help="Crystals to fill among; 'default' are the bundled ones.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the standing tasks' labelled crystals.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Instead: file of labelled crystals, or 'default'.")] = None,
    on: Annotated[list[str] | None, typer.Option(help="Task to fine-tune on; may be given again.")] = None,
    train: Annotated[int, typer.Option(min=10, help="Labelled crystals.")] = 100,
    rows: Annotated[int, typer.Option(min=20, help="Crystals per task at most.")] = 800,
    seeds: Annotated[str, typer.Option(help="Of draws and fine-tunings; fill-tuning has the first.")] = "0,1,2",
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to fill with.")] = 100,
    changes: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the config.")] = None,
    json: Annotated[Path | None, typer.Option(help="File to which the figures are appended as a line.")] = None,
) -> None:
    """Cost of fill-tuning over that of a standard fine-tuning, errors of both ways, and what other tasks lose."""
    listed, suite = numbers(seeds), Suite.asked(data, tasks, "both", rows)
    names = on or (list(TUNED_ON) if data else [suite.tasks[0].name])
    loaded, known = load_model(model), None if pool == "default" else read_structures(pool)
    settings = settings_of(changes or [])
    start = time.perf_counter()
    result = fill_tune(loaded, known, n, seed=listed[0], config=settings)
    seconds = time.perf_counter() - start
    found = compare_tuning(loaded, result.model, suite, names, train, listed)
    console.print(_table(found, seconds, train))
    text = "Errors are mean absolute ones on crystals that were not learnt from, means over seeds. Other tasks: change "
    text += "of the probes' errors on all other tasks by the frozen embedding, mean and worst; positive is better."
    console.print(f"{text} Fill-tuning: {result.report.verdict.headline}", highlight=False, markup=False)
    if json is not None:
        facts = {"model": Path(model).name, "pool": Path(pool).name, "settings": settings, "train": train}
        Lines(json).append(facts | {"seconds": seconds, "stages": result.report.run.stages, "rows": found})
