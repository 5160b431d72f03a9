"""The Lightning module and loop of continued pretraining.

An interrupted training goes on to the same bits as one that was not interrupted. Lightning's own checkpoints go on at
the start of an epoch, and this training is one epoch whose batches are known beforehand. Lightning's
``WeightAveraging`` copies the whole module with all crystals, and the state that is saved here would lack its averages.
So a :class:`~matgl_fill.utils.checkpoint.Checkpoint` saves the state, and PyTorch's ``AveragedModel``, which that
callback wraps too, averages the weights.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_swa_avg_fn

from matgl_fill.adapters import Adapter, Batch
from matgl_fill.config import ResolvedTraining
from matgl_fill.training.callbacks import EarlyStop
from matgl_fill.training.data import Crystals, batch_rows, unpack
from matgl_fill.training.objectives import Objective, ReadoutObjective
from matgl_fill.training.replay import Replay
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import console
from matgl_fill.utils.hashing import hash_model, hash_parts, hash_structure
from matgl_fill.utils.modes import deterministic

WARM_UP = 0.2
"""Fraction of the one-cycle schedule in which the learning rate rises."""
GRADIENT_CLIP = 1.0
EPSILON, EPSILON_HELD = 1e-8, 1e-5
"""Epsilon of AdamW, without and with replay that holds embedding or predictions; gradients far below it make no step.

What is held has not changed at the start, so that the first gradients of a readout are rounding, and the usual value
would make full steps of them.
"""
PARTS = 2
"""Number of parts in which every batch is computed, by one process or by two, so that both make the same sums.

Other sums would differ by rounding, and training amplifies that.
"""
HISTORY_POINTS = 50
"""Number of points of each loss curve."""
SAVE_SECONDS = 20.0
"""Seconds between two saves, which is what an interruption costs at most."""


class FillModule(pl.LightningModule):
    """Training on objectives of generated crystals and on replay of the pool, which averages the last steps' weights.

    Normalisation layers and dropout stay in evaluation mode: the embedding that is trained is the one that is used.

    Args:
        adapter: Adapter of the model, which is trained in place.
        objectives: Terms of the loss on generated crystals.
        replay: Term of the loss on pool crystals, if there is one.
        settings: Steps, rates and weights.
        seed: Seed of the training.
        path: File to which the training is saved, and from which an interrupted one goes on.
        stop: Early stop of the training, if it may end early.

    Attributes:
        on_step: Function that is told the number of steps that are done, after each, in place of a progress bar.

    Raises:
        InputError: The file is of another training.
    """

    def __init__(
        self,
        adapter: Adapter,
        objectives: Sequence[Objective],
        replay: Replay | None,
        settings: ResolvedTraining,
        seed: int,
        path: Path | None = None,
        stop: EarlyStop | None = None,
    ) -> None:
        super().__init__()
        if not any(p.requires_grad for p in adapter.core.parameters()):
            adapter.core.requires_grad_(True)
        self.steps = settings.steps
        self.on_step: Callable[[int], None] | None = None
        self.adapter, self.objectives, self.replay, self.settings = adapter, objectives, replay, settings
        self.core, self.stop = adapter.core, stop
        self.average = AveragedModel(adapter.core, avg_fn=get_swa_avg_fn()).requires_grad_(False)
        self.heads = torch.nn.ParameterList([p for o in objectives for p in o.parameters()])
        self.history: dict[str, list[float]] = {}
        self._recent: list[dict[str, float]] = []
        self._checkpoint = Checkpoint(path, self._key(seed), "the training")
        self._saved_at = time.monotonic()
        self._saved = self._checkpoint.load()
        self.before: int = self._saved["step"] if self._saved else 0
        """Number of steps that an interrupted training has done."""
        if self._saved:
            self.load_state_dict(self._saved["weights"])

    def _key(self, seed: int) -> str:
        """Hash of all that the training depends on; the heads stand for pool and targets, which they were fitted to."""
        weights = hash_model(torch.nn.ModuleList([self.core, self.heads]))
        crystals = [x for o in self.objectives for x in (o.name, *map(hash_structure, o.structures))]
        return hash_parts(weights, self.settings.model_dump_json(), seed, *crystals)

    def _state(self, step: int) -> dict[str, Any]:
        """All that the rest of the training depends on."""
        optimizer, schedule = self.optimizers(False), self.lr_schedulers()
        return {
            "step": step,
            "weights": self.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "random": torch.get_rng_state(),
        }

    def get_extra_state(self) -> dict[str, Any]:
        """State that belongs to the weights in a checkpoint and comes back with them from other processes."""
        stop = self.stop.state() if self.stop else None
        return {"stop": stop, "history": self.history, "recent": self._recent}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the state that :meth:`get_extra_state` gave."""
        self.history, self._recent = state["history"], state["recent"]
        if self.stop:
            self.stop.go_on(state["stop"])

    def configure_optimizers(self) -> Any:
        """AdamW with a one-cycle schedule of the learning rate."""
        rate, settings = self.settings.lr, self.settings
        epsilon = EPSILON_HELD if settings.prediction_weight or settings.replay_weight else EPSILON
        trained = [*self.core.parameters(), *self.heads]
        optimizer = torch.optim.AdamW(trained, lr=rate, eps=epsilon, weight_decay=0.0)
        warm_up = WARM_UP if WARM_UP * self.steps > 1 else 0.0  # one step cannot rise; PyTorch divides by zero there
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=self.steps, pct_start=warm_up)
        if self._saved:
            optimizer.load_state_dict(self._saved["optimizer"])
            schedule.load_state_dict(self._saved["schedule"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Prepare a process that was forked from the caller's, so that it can compute and ends quickly."""
        if self.trainer.world_size > 1:
            torch.set_num_threads(1)  # OpenMP's threads are not forked, and waiting for them would never end
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # also sent by Linux when the calling process dies

    def on_train_start(self) -> None:
        """Go on with the random numbers of an interrupted training, or measure the start of a new one."""
        if self._saved:
            torch.set_rng_state(self._saved["random"])
        elif self.stop:
            self.stop.begin(self.core)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:  # noqa: ARG002
        """Loss of one part of a step: of a batch of generated crystals per objective and a batch of replayed ones."""
        terms: dict[str, Tensor] = {}
        for objective in self.objectives:
            fill, rows, share = self._part(objective.name, batch)
            if objective.needs_geometry:
                fill = fill.movable()
            loss = objective.loss(self.adapter, self.adapter.forward(fill), fill, rows)
            terms[objective.name] = share * objective.weight * loss
        if self.replay is not None:
            self._add_replay(self.replay, batch, terms)
        losses = torch.stack(list(terms.values()))
        mean = self.trainer.strategy.reduce(losses.detach().clone(), reduce_op="mean")
        self._recent.append(dict(zip(terms, mean.tolist(), strict=True)))
        return losses.sum()

    def _add_replay(self, replay: Replay, batch: dict[str, Any], terms: dict[str, Tensor]) -> None:
        """Add the loss of replayed crystals, and that of the objectives that read these too."""
        held, rows, share = self._part("replay", batch)
        output = self.adapter.forward(held)
        terms["replay"] = share * replay.loss(self.adapter, output, held, rows)
        for objective in self.objectives:
            if isinstance(objective, ReadoutObjective) and objective.pool_weight:
                also = objective.pool_loss(output, replay.rows[rows])
                weight = share * objective.weight * objective.pool_weight
                terms[objective.name] = terms[objective.name] + weight * also

    def _part(self, name: str, batch: dict[str, Any]) -> tuple[Batch, Tensor, float]:
        """This part of a term's batch, its row numbers, and the weight of its loss.

        Lightning takes the mean of the gradients of all parts. Means over parts, weighted by their sizes over the mean
        size, have the mean over the whole batch as mean.
        """
        part, rows = unpack(batch[name], self.adapter)
        mean = self.trainer.datamodule.mean_sizes[name][self.global_step]
        crystals, atoms = (torch.tensor([len(part), len(part.node_batch)]) / mean).tolist()
        return replace(part, atom_weight=atoms / crystals), rows, crystals

    def on_train_epoch_start(self) -> None:
        """Keep evaluation mode, because Lightning switches to training mode."""
        self.adapter.model.eval()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Record, average, check and save after the last part of a step.

        Mean losses are recorded and the training is saved now and then; near the end the weights are added to the
        average; a training that spoils the embedding is stopped.
        """
        step, steps, parts = self.before + self.global_step, self.steps, self.trainer.accumulate_grad_batches
        if (batch_idx + 1) % parts:
            return
        if len(self._recent) == parts * max(steps // HISTORY_POINTS, 1) or step == steps:
            for name in self._recent[0]:
                value = sum(r[name] for r in self._recent) / len(self._recent)
                self.history.setdefault(name, []).append(value)
            self._recent.clear()
        if step > self.settings.average_from * steps:
            self.average.update_parameters(self.core)
        if self.stop:
            self.stop.check(self.core, step, steps)
        if self.on_step:
            self.on_step(step)
        self.trainer.should_stop = self.stopped
        due = time.monotonic() - self._saved_at >= SAVE_SECONDS
        if self.trainer.is_global_zero and (due or step == steps or self.stopped):
            self._checkpoint.save(self._state(step))
            self._saved_at = time.monotonic()

    @property
    def stopped(self) -> bool:
        """Whether the training has ended early."""
        return self.stop is not None and self.stop.after is not None

    def take_result(self) -> None:
        """Set the averaged weights, or the best ones where training ended early."""
        result: dict[str, Tensor] = dict(self.average.module.named_parameters()) if self.average.n_averaged else {}
        if self.stop and self.stopped:
            result = self.stop.weights
        with torch.no_grad():
            for name, p in self.core.named_parameters():
                p.copy_(result.get(name, p))


def fit(
    adapter: Adapter,
    objectives: Sequence[Objective],
    replay: Replay | None,
    settings: ResolvedTraining,
    seed: int,
    checkpoint: Path | None = None,
    stop: EarlyStop | None = None,
) -> dict[str, list[float]]:
    """Train the adapter's model in place.

    Weights that do not require gradients stay as they are: those that a model fixes, such as the centres of its
    Gaussians, and those that were frozen by ``requires_grad_(False)``. If that would leave nothing to train, all are
    trained.

    Args:
        adapter: Adapter of the model.
        objectives: Terms of the loss on generated crystals.
        replay: Term of the loss on pool crystals, if there is one.
        settings: Steps, rates and weights.
        seed: Seed of the order of the crystals.
        checkpoint: File to which the training is saved, and from which an interrupted one goes on to the same bits.
        stop: Early stop of a training that spoils the embedding; it holds the step after which training ended.

    Returns:
        Weighted loss of every term, ``HISTORY_POINTS`` means over the run.

    Raises:
        InputError: The checkpoint is of another training.
    """
    return run(FillModule(adapter, objectives, replay, settings, seed, checkpoint, stop), seed)


def run(module: FillModule, seed: int) -> dict[str, list[float]]:
    """Do the steps of a training that are left, and set the weights that come of it.

    Args:
        module: The training.
        seed: Seed of the order of the crystals.

    Returns:
        Weighted loss of every term, ``HISTORY_POINTS`` means over the run.
    """
    if not module.steps or not module.settings.lr:
        return {}
    if module.before < module.steps and not module.stopped:
        if module.before:
            console.print(f"going on after step {module.before}", highlight=False)
        _train(module, seed)
    module.take_result()
    return module.history


def _train(module: FillModule, seed: int) -> None:
    """Do the steps that are left."""
    adapter, settings, replay = module.adapter, module.settings, module.replay
    device = adapter.device
    graphs = {o.name: adapter.graphs(o.structures) for o in module.objectives}
    sizes = {o.name: getattr(o, "batch_size", settings.batch_size) for o in module.objectives}
    rows = {name: batch_rows(len(g), sizes[name], module.steps, seed) for name, g in graphs.items()}
    if replay is not None:
        graphs["replay"] = replay.graphs
        rows["replay"] = batch_rows(len(replay.graphs), settings.replay_batch, module.steps, seed + 1)
    smallest = min(r.shape[1] for r in rows.values())
    processes = min(settings.processes, smallest)
    parts = max(processes, min(PARTS, smallest))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), deterministic(), _interruptible(), _alone():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        torch.manual_seed(seed)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator=device.type,
            devices=processes if device.type == "cpu" else [device.index or 0],
            strategy="ddp_fork_find_unused_parameters_true" if processes > 1 else "auto",
            accumulate_grad_batches=parts // processes,
            use_distributed_sampler=False,  # Crystals are shared out already
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=console.is_terminal and module.on_step is None,
            gradient_clip_val=GRADIENT_CLIP,
            inference_mode=False,
        )
        crystals = Crystals(graphs, {name: r[module.before :] for name, r in rows.items()}, parts)
        trainer.fit(module, datamodule=crystals)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make Ctrl-C a KeyboardInterrupt again; Lightning exits on it and ignores further ones for good."""
    answer = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        signal.signal(signal.SIGINT, answer)
        raise KeyboardInterrupt from error


@contextmanager
def _alone() -> Iterator[None]:
    """End every process that was started in the block when an error occurs, and restore the settings they change."""
    others, port = multiprocessing.active_children(), os.environ.get("MASTER_PORT")
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            if child not in others:
                child.kill()
                child.join()
        raise
    finally:
        os.environ.pop("MASTER_PORT", None)
        if port is not None:
            os.environ["MASTER_PORT"] = port
