"""Potentials of architectures that no pretrained model is at hand of, distilled from another potential."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as pl
import numpy as np
import torch
import typer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from matgl.apps.pes import Potential
from matgl.models import QET, CHGNet, SO3Net, TensorNet
from matgl.utils.training import ModelLightningModule
from pymatgen.core import Structure
from torch import Tensor

from examples.benchmarks.common.fitting import fit_quietly, split_loaders
from examples.benchmarks.common.printing import console
from matgl_fill import get_adapter, load_model
from matgl_fill.adapters import Adapter
from matgl_fill.embedding import embedding_seconds
from matgl_fill.errors import InputError
from matgl_fill.generation.augment import augmentations
from matgl_fill.structures import pool_named
from matgl_fill.training import Labels, elemental_shifts, label
from matgl_fill.training.data import unpack
from matgl_fill.training.run_state import RunState, model_and_pool
from matgl_fill.utils.files import atomic_folder
from matgl_fill.utils.modes import deterministic

BACKWARD_COST, GEOMETRY_COST = 3, 3
"""Cost of a training pass in forward passes, and factor by which forces and stress cost more, about."""
Architecture = Literal["CHGNet", "QET", "SO3Net", "TensorNet"]
ARCHITECTURES: dict[str, Any] = {
    "CHGNet": CHGNet,
    "QET": QET,
    "SO3Net": partial(SO3Net, lmax=1),
    "TensorNet": TensorNet,
}
"""Of MatGL's default sizes, but that SO3Net's angular momentum ends at 1: a step of 3 took a quarter of a minute.
TensorNet is a control: what a short distillation alone makes of an architecture that is at hand well pretrained."""
RATTLE, STRAIN = 0.25, 0.03
"""Of the augmentation of every crystal: largest deviation of displacements (Angstrom) and deviation of strains."""
BATCH, RATE, TESTED = 16, 2e-3, 0.05
"""Crystals a step, Adam's rate at the start of a cosine to zero, and share of crystals that only test."""
FORCE_WEIGHT, DELTA = 1.0, 1.0
"""Of forces beside energies per atom, in the loss; both by Huber's with that corner, in eV/atom and eV/Angstrom."""
STATE = "distillation.ckpt"
"""File of a training that is not finished."""


class Distillation(ModelLightningModule):
    """MatGL's training of a model, on energies and forces, read as the adapter reads them.

    Args:
        adapter: of the potential, which is trained in place.
        labels: of the crystals, by row.
        epochs: over which the rate falls to zero.
        shuffles: draws the order of the crystals; its state is saved with the weights.
    """

    def __init__(self, adapter: Adapter, labels: Labels, epochs: int, shuffles: torch.Generator) -> None:
        super().__init__(model=adapter.model, lr=RATE, decay_steps=epochs, decay_alpha=0.0)
        self._adapter, self._labels, self._shuffles = adapter, labels, shuffles

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the state of the shuffles too."""
        checkpoint["shuffles"] = self._shuffles.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the shuffles."""
        self._shuffles.set_state(checkpoint["shuffles"])

    def save_hyperparameters(self, *_: Any, **__: Any) -> None:
        """Save none: a model is among them."""

    def errors(self, batch: tuple) -> tuple[Tensor, Tensor]:
        """Errors of energies per atom (B,) and of forces (N, 3) of one batch."""
        crystals, rows = unpack(batch, self._adapter)
        moving = crystals.movable()
        assert moving.displacement is not None
        energy = self._adapter.forward(moving).prediction
        forces = -torch.autograd.grad(energy.sum(), moving.displacement, create_graph=True)[0]
        energy_labels, force_labels, _ = self._labels.gather(rows)
        return (energy - energy_labels) / crystals.n_atoms, forces - force_labels

    def step(self, batch: tuple) -> tuple[dict[str, Any], int]:
        """Loss and errors of one batch."""
        energy, forces = self.errors(batch)
        parts = [torch.nn.functional.huber_loss(e, torch.zeros_like(e), delta=DELTA) for e in (energy, forces)]
        results = {"Total_Loss": parts[0] + FORCE_WEIGHT * parts[1], "MAE": energy.abs().mean()}
        return results | {"RMSE": energy.square().mean().sqrt()}, len(energy)


@dataclass(frozen=True)
class LabelledSet:
    """Crystals labelled by the reference potential.

    Attributes:
        structures: n of them.
        labels: of the reference potential.
        test: rows that only test.
    """

    structures: Sequence[Structure]
    labels: Labels
    test: list[int]


def labelled_set(reference: Adapter, pool: Sequence[Structure], max_atoms: int, seed: int) -> LabelledSet:
    """Small crystals of a pool and an augmentation of each, labelled; both are on one side of training and test.

    Args:
        reference: of the potential that labels.
        pool: crystals.
        max_atoms: of a cell.
        seed: of augmentations and of what tests.

    Raises:
        InputError: the pool has hardly a crystal that the reference potential takes.
    """
    known = [s for s in pool if len(s) <= max_atoms and reference.unsupported_reason(s) is None]
    if len(known) < 2:
        raise InputError(f"the pool has {len(known)} crystals of at most {max_atoms} atoms that the reference knows.")
    rng = np.random.default_rng(seed)
    tested = set(rng.permutation(len(known))[: max(round(TESTED * len(known)), 1)].tolist())
    structures: list[Structure] = []
    test: list[int] = []
    for i, crystal in enumerate(known):
        family = [crystal, *augmentations([crystal], 1, rng, RATTLE, STRAIN)]
        test += range(len(structures), len(structures) + len(family)) if i in tested else []
        structures += family
    seconds = GEOMETRY_COST * embedding_seconds(reference, structures) * len(structures)
    console.print(f"labelling {len(structures)} crystals, about {seconds:.0f} s", highlight=False)
    found = label(structures, reference)
    tame = np.flatnonzero(found.usable()).tolist()
    place = {i: k for k, i in enumerate(tame)}
    return LabelledSet([structures[i] for i in tame], found.subset(tame), [place[i] for i in test if i in place])


def fresh(architecture: str, elements: tuple[str, ...], data: LabelledSet, seed: int) -> Adapter:
    """A potential of random weights with the elemental references and the scale of forces of labelled crystals."""
    pl.seed_everything(seed, verbose=False)
    shifts, _ = elemental_shifts(data.structures, data.labels.energy, elements)
    spread = float(np.sqrt(np.mean(np.concatenate(data.labels.forces) ** 2)))
    core = ARCHITECTURES[architecture](element_types=elements, is_intensive=False)
    references = np.array([shifts[e] for e in elements])
    return get_adapter(Potential(core, data_std=spread, element_refs=references))


def distil(
    adapter: Adapter, data: LabelledSet, epochs: int, seed: int, saved: Path | None = None
) -> tuple[float, float]:
    """Train a potential in place on the labelled crystals that do not test.

    Args:
        adapter: of the potential.
        data: labelled crystals.
        epochs: passes over them.
        seed: of their order.
        saved: file to which the training is saved after every epoch, and from which an interrupted one goes on to the
            same bits.

    Returns:
        Mean absolute errors on those that test, eV/atom and eV/Angstrom.
    """
    graphs = adapter.graphs(data.structures)
    training = sorted(set(range(len(graphs))) - set(data.test))
    trained_on, tested_on = split_loaders(graphs, training, data.test, BATCH, seed)
    passes = GEOMETRY_COST * BACKWARD_COST * len(training) * epochs
    seconds = passes * embedding_seconds(adapter, data.structures)
    console.print(f"training on {len(training)} crystals, about {seconds:.0f} s", highlight=False)
    module = Distillation(adapter, data.labels, epochs, trained_on.generator)
    options: dict[str, Any] = {"gradient_clip_val": 1.0, "callbacks": [RichProgressBar(refresh_rate=50)]}
    if saved is not None:
        options["callbacks"].append(ModelCheckpoint(saved.parent, saved.stem, enable_version_counter=False))
    with deterministic():
        fit_quietly(module, [trained_on], epochs, saved, enable_checkpointing=saved is not None, **options)
    module.eval()
    found = [module.errors(batch) for batch in tested_on]
    energy, forces = (float(torch.cat([f[k].detach().abs().flatten() for f in found]).mean()) for k in (0, 1))
    return energy, forces


def distil_command(
    architecture: Annotated[Architecture, typer.Argument(help="Of the potential that is trained.")],
    reference: Annotated[
        str, typer.Argument(help="Potential whose energies and forces it learns; 'potential' is the bundled one.")
    ],
    pool: Annotated[str, typer.Argument(help="Crystals, 'default' for the bundled ones.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the distilled potential.")],
    epochs: Annotated[int, typer.Option(min=1, help="Of training.")] = 10,
    max_atoms: Annotated[int, typer.Option(min=1, help="Of the crystals it learns.")] = 16,
    seed: Annotated[int, typer.Option(help="Of weights, augmentations and order.")] = 0,
) -> None:
    """Distil a potential of an architecture of which no pretrained model is at hand, for `evidence run`.

    An interrupted call goes on when it is given again.
    """
    start = time.perf_counter()
    adapter = get_adapter(load_model(reference))
    data = labelled_set(adapter, pool_named(pool, adapter.element_types).structures, max_atoms, seed)
    mean = np.mean(np.abs(np.concatenate(data.labels.forces)))
    console.print(f"{len(data.structures)} crystals, {len(data.test)} of them to test; mean force {mean:.3f} eV/A")
    ids = [str(k) for k in range(len(data.structures))]
    asked = {"architecture": architecture, "epochs": epochs, "max_atoms": max_atoms, "seed": seed}
    state = RunState(out, model_and_pool(adapter.model, data.structures, ids) | asked, resume=True)
    distilled = fresh(architecture, adapter.element_types, data, seed)
    energy, forces = distil(distilled, data, epochs, seed, state.file(STATE))
    model: Any = distilled.model.eval()
    description = {"description": f"{architecture} distilled from {Path(reference).name}"}
    atomic_folder(out, partial(model.save, metadata=description))
    state.remove()
    seconds = time.perf_counter() - start
    text = f"{architecture}: {1000 * energy:.0f} meV/atom and {forces:.3f} eV/A on those that test"
    console.print(f"{text}; {seconds:.0f} s", highlight=False)
