"""What a training will cost, measured before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from matgl_fill.adapters import Adapter, Graph
from matgl_fill.config import ResolvedTraining
from matgl_fill.training.objectives import Objective
from matgl_fill.training.replay import Replay


def seconds_per_step(
    adapter: Adapter, objectives: Sequence[Objective], replay: Replay | None, settings: ResolvedTraining
) -> float:
    """Time of a training step in seconds: the second of two, which are made on a copy of the model.

    Args:
        adapter: Adapter of the model that is to be trained; it stays as it is.
        objectives: Terms of the loss on generated crystals.
        replay: Term of the loss on pool crystals, if there is one.
        settings: Sizes of the batches.
    """
    copy, seconds = adapter.clone(), 0.0
    taken = [_spread(len(o.structures), getattr(o, "batch_size", settings.batch_size)) for o in objectives]
    graphs = [copy.graphs([o.structures[i] for i in rows]) for o, rows in zip(objectives, taken, strict=True)]
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            start = time.perf_counter()
            for objective, some, rows in zip(objectives, graphs, taken, strict=True):
                _pass(copy, objective, some, rows)
            if replay is not None:
                rows = _spread(len(replay.graphs), settings.replay_batch)
                _pass(copy, replay, [replay.graphs[i] for i in rows], rows)
            seconds = time.perf_counter() - start
    return seconds


def _spread(n: int, size: int) -> Tensor:
    """Rows that are spread over n crystals, as many as a batch has."""
    return torch.tensor(np.linspace(0, n - 1, min(n, size)).astype(int))


def _pass(adapter: Adapter, term: Objective | Replay, graphs: Sequence[Graph], rows: Tensor) -> None:
    """Loss of a batch and its gradient, which is not kept."""
    batch = adapter.collate(graphs)
    if getattr(term, "needs_geometry", False):
        batch = batch.movable()
    loss = term.loss(adapter, adapter.forward(batch), batch, rows)
    weights = [p for p in adapter.core.parameters() if p.requires_grad]
    if weights and loss.requires_grad:
        torch.autograd.grad(loss, weights, allow_unused=True)
