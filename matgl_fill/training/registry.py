"""Registry of label-free objectives by name, so that another package can add one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from matgl_fill.adapters import Adapter
from matgl_fill.config import ResolvedTraining
from matgl_fill.embedding import Pool
from matgl_fill.errors import InputError
from matgl_fill.structures import describe_structures
from matgl_fill.training.denoise import denoising
from matgl_fill.training.objectives import Objective, ReadoutObjective, standard_scaling
from matgl_fill.training.training_set import TrainingSet
from matgl_fill.utils.scaling import Scaling


@dataclass(frozen=True)
class ObjectiveContext:
    """Everything that an objective is made from.

    Attributes:
        adapter: Adapter of the copy that is trained.
        pool: The n pool crystals, with the copy's embedding ``Z`` (n, dim), the original's predictions ``y`` (n,) and
            descriptors ``D`` (n, k).
        training_set: Crystals to learn from.
        settings: Weights and sizes.
        rng: Generator of all random choices.
    """

    adapter: Adapter
    pool: Pool
    training_set: TrainingSet
    settings: ResolvedTraining
    rng: np.random.Generator

    @cached_property
    def scale(self) -> Scaling[Tensor]:
        """Scaling that standardises the embedding."""
        return standard_scaling(self.pool.Z)


Maker = Callable[[ObjectiveContext], Objective]
_MAKERS: dict[str, Maker] = {}


def register_objective(name: str) -> Callable[[Maker], Maker]:
    """Make an objective available to :func:`matgl_fill.fill_tune`, alone or in a sum such as ``"descriptor+mine"``.

    Args:
        name: Name of the objective: a word that is not taken.

    Raises:
        InputError: The name is taken, or it is no word.

    Example:
        >>> @register_objective("density")
        ... def density(context):
        ...     new = context.training_set.crystals
        ...     targets, known = (np.array([[s.density] for s in x]) for x in (new, context.pool.structures))
        ...     return ReadoutObjective("density", context.scale, (context.pool.Z, known), new, targets, 1.0)
        >>> "density" in objective_names()
        True
        >>> del _MAKERS["density"]
    """
    if not name.isidentifier() or name in ("auto", "oracle", *_MAKERS):
        raise InputError(
            f"an objective cannot be named '{name}'; give a word other than {', '.join(objective_names())}."
        )

    def register(maker: Maker) -> Maker:
        _MAKERS[name] = maker
        return maker

    return register


def objective_names() -> list[str]:
    """Names that :func:`matgl_fill.fill_tune` takes as objective, alone or joined by ``+``."""
    return ["auto", "oracle", *_MAKERS]


def label_free(objective: str, context: ObjectiveContext) -> list[Objective]:
    """Make the label-free terms of a checked objective."""
    names = ["descriptor"] if objective == "auto" else objective.split("+")
    return [_MAKERS[name](context) for name in names if name != "oracle"]


def check_objective(objective: str, labels: bool) -> None:
    """Refuse an objective that cannot be made, before anything is computed.

    Args:
        objective: Name of the objective, as in :func:`matgl_fill.fill_tune`.
        labels: Whether an oracle or labelled crystals are given.

    Raises:
        InputError: The objective is unknown, it is ``"oracle"`` without labels, or it leaves given labels unused.
    """
    names = objective.split("+")
    unknown = [name for name in names if name not in objective_names() or (name == "auto" and len(names) > 1)]
    if unknown:
        raise InputError(f"no objective '{unknown[0]}'; there are {', '.join(objective_names())}.")
    if "oracle" in names and not labels:
        raise InputError(
            "objective 'oracle' needs labelled crystals or an oracle: sevennet, chgnet, an ASE calculator or a MatGL "
            "potential."
        )
    if labels and not {"auto", "oracle"} & set(names):
        raise InputError(f"objective '{objective}' leaves the labels unused; give '{objective}+oracle', or no labels.")


@register_objective("descriptor")
def _descriptor(context: ObjectiveContext) -> Objective:
    crystals, settings = context.training_set.all, context.settings
    targets = describe_structures(crystals)
    weights = settings.descriptor_weight, settings.pool_descriptor_weight
    return ReadoutObjective("descriptor", context.scale, (context.pool.Z, context.pool.D), crystals, targets, *weights)


@register_objective("denoise")
def _denoise(context: ObjectiveContext) -> Objective:
    crystals, weight = context.training_set.crystals, context.settings.denoise_weight
    return denoising(context.adapter, context.scale, crystals, weight, context.rng)
