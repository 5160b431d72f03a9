"""Pretraining of the small MEGNet on labelled crystals, kept as rows of plain JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as pl
import numpy as np
import torch
from matgl.config import DEFAULT_ELEMENTS
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset
from matgl.models import MEGNet
from matgl.utils.training import ModelLightningModule
from pymatgen.core import Lattice, Structure

Row = dict[str, Any]
TARGET, CUTOFF = "formation_energy_chgnet_eV_per_atom", 5.0


def as_dict(structure: Structure) -> Row:
    """Lattice, species and fractional coordinates, rounded."""
    return {
        "lattice": np.round(structure.lattice.matrix, 6).tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": (np.round(structure.frac_coords, 6) % 1.0).tolist(),
    }


def as_structure(row: Row) -> Structure:
    """Inverse of ``as_dict``."""
    return Structure(Lattice(row["structure"]["lattice"]), row["structure"]["species"], row["structure"]["frac_coords"])


def read_rows(path: Path) -> list[Row]:
    """The finished rows of a stage."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loaders(rows: Sequence[Row], val: Sequence[Row], batch: int = 32) -> tuple[Any, ...]:
    """MatGL data loaders of two sets of crystals."""
    converter = Structure2Graph(element_types=DEFAULT_ELEMENTS, cutoff=CUTOFF)
    sets = []
    for part in (rows, val):
        labels = {TARGET: [row[TARGET] for row in part]}
        with tempfile.TemporaryDirectory() as root:
            structures = [as_structure(row) for row in part]
            sets.append(
                MGLDataset(structures=structures, labels=labels, converter=converter, save_cache=False, root=root)
            )
    return MGLDataLoader(*sets, batch_size=batch, num_workers=0)


def pretrain(train: Sequence[Row], val: Sequence[Row], seed: int, epochs: int) -> MEGNet:
    """A MEGNet of default size fitted to the formation energies; it predicts eV/atom by itself."""
    pl.seed_everything(seed, verbose=False)
    mean, std = float(np.mean([r[TARGET] for r in train])), float(np.std([r[TARGET] for r in train]))
    model = MEGNet(element_types=DEFAULT_ELEMENTS, cutoff=CUTOFF)
    options = {"data_mean": mean, "data_std": std, "lr": 2e-3, "decay_steps": epochs, "decay_alpha": 0.005}
    module = ModelLightningModule(model, loss="l1_loss", **options)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    bar = pl.pytorch.callbacks.RichProgressBar(refresh_rate=50)
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", gradient_clip_val=1.0, callbacks=[bar], **quiet)
    trainer.fit(module, *loaders(train, val))
    with torch.no_grad():
        last = model.output_proj.last_linear
        last.weight.mul_(std)
        last.bias.mul_(std).add_(mean)
    model.feature_dict = {}
    return model


def mean_absolute_error(model: MEGNet, rows: Sequence[Row]) -> float:
    """MAE of the bare model in eV/atom."""
    module, errors = ModelLightningModule(model).eval(), []
    with torch.no_grad():
        for graph, lattice, state, target in loaders(rows, rows[:1])[0]:
            errors.extend((module(graph, lattice, state_attr=state) - target).abs().reshape(-1).tolist())
    return float(np.mean(errors))
