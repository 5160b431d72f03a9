"""What the trainings of the benchmarks share: MatGL's loaders of two parts of some crystals, and a quiet Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as pl
import torch
from matgl.graph.data import MGLDataLoader, collate_fn_graph
from torch.utils.data import DataLoader, Subset

from matgl_fill.adapters import Graph
from matgl_fill.training.data import CrystalDataset


def split_loaders(
    graphs: Sequence[Graph], training: Sequence[int], validation: Sequence[int], size: int, seed: int
) -> tuple[DataLoader, DataLoader]:
    """MatGL's loaders of the training set, shuffled, and of the validation set, in order.

    Args:
        graphs: of all crystals.
        training: rows of the training set.
        validation: rows of the others.
        size: crystals a batch.
        seed: of the shuffles.
    """
    data = CrystalDataset(graphs)
    settings: dict[str, Any] = {"batch_size": size, "num_workers": 0}
    settings["generator"] = torch.Generator().manual_seed(seed)
    parts: tuple[Any, Any] = Subset(data, training), Subset(data, validation)
    first, last = MGLDataLoader(*parts, collate_fn=collate_fn_graph, **settings)
    return first, last


def fit_quietly(
    module: pl.LightningModule, loaders: Sequence[DataLoader], epochs: int, saved: Path | None = None, **options: Any
) -> pl.Trainer:
    """Train on the CPU without Lightning's logs, messages and model summary; gives the trainer.

    Args:
        module: trained in place.
        loaders: of training, and of validation if there is any.
        epochs: at most.
        saved: checkpoint of Lightning from which training goes on, if it is there.
        options: further ones of Lightning's trainer.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_model_summary=False, **options)
        going_on = str(saved) if saved is not None and saved.exists() else None
        trainer.fit(module, *loaders, ckpt_path=going_on, weights_only=True)
    return trainer
