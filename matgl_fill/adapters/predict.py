"""Energies, forces and stresses of many crystals by a potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.batching import in_threads
from matgl_fill.adapters.graphs import Graph
from matgl_fill.adapters.modes import evaluation_mode
from matgl_fill.errors import ModelError
from matgl_fill.utils.console import track
from matgl_fill.utils.modes import usual_autograd


@dataclass(frozen=True)
class Predictions:
    """Energies, forces and stresses of n crystals by a potential.

    Attributes:
        energy: Energies of the cells, (n,), eV.
        forces: Forces, n arrays of shape (atoms, 3), eV/Angstrom.
        stress: dE/dstrain over the volume, (n, 3, 3), eV/Angstrom^3 (positive in tension, ASE's sign).
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray


@usual_autograd()
def predict(
    adapter: Adapter, graphs: Sequence[Graph], description: str = "predicting energies and forces"
) -> Predictions:
    """Predict energies, forces and stresses of crystals, in batches and in evaluation mode.

    Args:
        adapter: Adapter of a potential.
        graphs: Graphs of the n crystals by :meth:`Adapter.graphs`.
        description: What is being done, for the progress bar.

    Raises:
        ModelError: The model is no potential, so that it has no forces.
    """
    if not adapter.is_potential:
        raise ModelError(f"{adapter.name} is a property model and has no forces; give a MatGL Potential.")

    def job(worker: Adapter, group: list[int]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        batch = worker.collate([graphs[i] for i in group]).movable()
        assert batch.displacement is not None
        assert batch.strain is not None
        energy = worker.predict_batch(batch)
        down, strain = torch.autograd.grad(energy.sum(), [batch.displacement, batch.strain])
        forces = [part.cpu().numpy() for part in torch.split(-down, batch.n_atoms.tolist())]
        return energy.detach().cpu().numpy(), forces, (strain / batch.volume[:, None, None]).cpu().numpy()

    found = Predictions(np.empty(len(graphs)), [np.empty((0, 3))] * len(graphs), np.empty((len(graphs), 3, 3)))
    groups = adapter.groups(graphs)
    with evaluation_mode(adapter.model):
        results = in_threads(adapter, job, groups)
        for group, (energy, forces, stress) in zip(track(groups, description), results, strict=True):
            found.energy[group], found.stress[group] = energy, stress
            for i, part in zip(group, forces, strict=True):
                found.forces[i] = part
    return found
