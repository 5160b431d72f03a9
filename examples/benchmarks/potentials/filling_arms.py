"""Ways to make a potential learn from labelled crystals, each from the same labels and elemental shifts."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from ase.units import GPa
from matgl.apps.pes import Potential
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataset
from matgl.utils import training as matgl_training

from examples.benchmarks.evidence.devices import StartingPoint
from examples.benchmarks.potentials.filling_data import Labelled
from matgl_fill import FillConfig, fill_tune, get_adapter
from matgl_fill.adapters import Adapter
from matgl_fill.config.config import ResolvedTraining
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.guard import CrystalClass, folds_by_formula
from matgl_fill.structures import bundled_pool
from matgl_fill.training import LabelledSet, Objective, elemental_shifts, fit
from matgl_fill.training.potential import tune
from matgl_fill.training.potential.crystals import crystals_at_rest, general_crystals
from matgl_fill.training.potential.objective import PotentialObjective

L2SP = 0.1
"""Weight of L2-SP."""


@dataclass(frozen=True)
class Trained:
    """What an arm gives.

    Attributes:
        potential: that has learnt, or the original if the guard refused.
        accepted: whether the guard accepted it; None where none judged.
        weight: of the tuned weights that the guard gave.
        notes: the guard's reasons, and what else is to be known.
    """

    potential: Potential
    accepted: bool | None = None
    weight: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """Labelled crystals that a potential is to learn from.

    Attributes:
        potential: left as it is.
        crystals: labelled.
        seed: of the training.
        settings: changes of the package's settings.
    """

    potential: Potential
    crystals: Labelled
    seed: int
    settings: dict[str, Any]

    @cached_property
    def adapter(self) -> Adapter:
        """Of the potential."""
        return get_adapter(self.potential)

    @cached_property
    def shifts(self) -> dict[str, float]:
        """Elemental energies, eV/atom, from the potential's level of theory to the labels', fitted to all of them."""
        structures = self.crystals.structures
        own = self.adapter.embed_graphs(self.adapter.graphs(structures))[1]
        return elemental_shifts(structures, self.crystals.labels.energy - own, self.adapter.element_types)[0]

    @property
    def aligned(self) -> LabelledSet:
        """The crystals with energies at the potential's level of theory."""
        return LabelledSet(self.crystals.structures, self.crystals.labels).shifted(self.shifts)

    @property
    def training(self) -> ResolvedTraining:
        """The package's settings of the training."""
        a = self.adapter
        config = FillConfig.make(self.settings)
        return config.resolved(a.is_potential, a.training_replay, a.label_rate, on_labels=True).training

    @property
    def steps(self) -> int:
        """Steps of all copies of the package's training together."""
        return self.training.steps * max(1, len(folds_by_formula(self.crystals.structures, self.seed)))

    @property
    def batch(self) -> int:
        """Labelled crystals in a step of the package's training."""
        return tune.crystals_per_step(self.aligned, self.training.batch_size)


def filled(lesson: Lesson, **changes: Any) -> Trained:
    """What the package gives: :func:`matgl_fill.fill_tune` on the labelled crystals."""
    settings = lesson.settings | changes
    result = fill_tune(lesson.potential, labelled=lesson.crystals.frames, seed=lesson.seed, config=settings)
    verdict = result.report.verdict
    weight = verdict.alpha if verdict.accepted else 0.0
    return Trained(result.model, verdict.accepted, 1.0 if weight is None else weight, tuple(verdict.reasons))


def naive(lesson: Lesson) -> Trained:
    """MatGL's own trainer with its defaults: all weights, Adam at 1e-3, Huber's loss, no replay.

    A twentieth of the crystals each validates and tests, as is the trainer's default; the last weights are taken. The
    potential's elemental references and scale are kept. It sees as many crystals in all as the package's training,
    replayed ones included.
    """
    adapter, settings, aligned = lesson.adapter.clone(), lesson.training, lesson.aligned
    model: Any = adapter.model
    if model.calc_repuls or model.element_refs is None:
        raise InputError("MatGL's trainer would drop this potential's repulsion, or wants elemental references.")
    labels: dict[str, Any] = {"energies": aligned.labels.energy, "forces": aligned.labels.forces}
    options: dict[str, Any] = {"stress_weight": 0.0}
    if np.isfinite(aligned.labels.stress).all():
        labels["stresses"], options = aligned.labels.stress / GPa, {}
    seen = lesson.steps * (lesson.batch + settings.replay_batch)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        trainer = matgl_training.MGLPotentialTrainer(
            adapter.core,
            data_mean=float(model.data_mean),
            data_std=float(model.data_std),
            max_epochs=math.ceil(seen / len(aligned)),
            accelerator="cpu",
            seed=lesson.seed,
            loader_kwargs={"num_workers": 0},
            trainer_kwargs={"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            | {"enable_model_summary": False, "default_root_dir": folder},
            **options,
        )
        converter = Structure2Graph(element_types=adapter.element_types, cutoff=adapter.cutoff)
        data = MGLDataset(
            converter=converter, structures=aligned.structures, labels=labels, root=folder, save_cache=False
        )
        references = model.element_refs.property_offset.detach().cpu().numpy()
        trained = trainer.fit(data, atomrefs=references).eval()
    return Trained(trained, notes=(f"{trainer.max_epochs} epochs",))


def replayed(lesson: Lesson, at_rest: bool = True, outside: bool = True, l2sp: float = 0.0) -> Trained:
    """One training without gate, folds and guard: the trained weights themselves, everywhere.

    It makes as many steps as all copies of the package's own together.

    Args:
        lesson: the labels, all of which are learnt from.
        at_rest: replay crystals of the class at rest.
        outside: replay general crystals outside of the class, of all elements of the potential.
        l2sp: weight of L2-SP.
    """
    adapter, settings, seed = lesson.adapter, lesson.training, lesson.seed
    taught = lesson.aligned
    terms: list[Objective] = [PotentialObjective("labels", taught, 1.0, lesson.batch)]
    if at_rest:
        pool = prepare_pool(adapter, bundled_pool(adapter.element_types))
        resting = crystals_at_rest(adapter, pool, taught, seed)
        terms.append(tune.held_to_itself("class at rest", adapter, resting, settings, tune.AT_REST))
    if outside:
        general = general_crystals(adapter.element_types, tune.GENERAL, seed)
        others = tune.outside(adapter, CrystalClass(adapter, taught.structures), general)
        terms.append(tune.held_to_itself("outside of the class", adapter, others, settings))
    copy = adapter.clone()
    if l2sp:
        terms.append(StartingPoint(copy, taught.structures[:1], l2sp))
    fit(copy, terms, None, settings.model_copy(update={"steps": lesson.steps}), seed)
    return Trained(copy.model)


ARMS: dict[str, Callable[[Lesson], Trained]] = {
    "default": filled,
    "correct": partial(filled, form="correct"),
    "overwrite": partial(filled, form="overwrite"),
    "naive": naive,
    "no replay": partial(replayed, at_rest=False, outside=False),
    "general": partial(replayed, at_rest=False),
    "both": replayed,
    "l2sp": partial(replayed, l2sp=L2SP),
}
"""``default`` is what users get; ``correct`` and ``overwrite`` are other forms of it. The last four are the trained
weights themselves, without gate and guard: without replay, with general crystals replayed, with the class at rest
beside them, and with L2-SP beside both."""
