"""Label-free objectives by name, so that another package can add one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.structures import describe_structures
from matgl_fill.training.denoise import denoising
from matgl_fill.training.objectives import Objective, ReadoutObjective, Standardiser


@dataclass(frozen=True)
class Material:
    """What a label-free objective is made from.

    Attributes:
        adapter: of the original model.
        scale: standardises its embedding.
        pool: (n) known crystals.
        Z: (n, dim) their embedding.
        D: (n, k) their descriptors.
        fill: crystals to learn from.
        copies: altered copies of them.
        config: weights and sizes, resolved.
        rng: for whatever is drawn.
    """

    adapter: Adapter
    scale: Standardiser
    pool: Sequence[Structure]
    Z: np.ndarray
    D: np.ndarray
    fill: Sequence[Structure]
    copies: Sequence[Structure]
    config: FillConfig
    rng: np.random.Generator


Maker = Callable[[Material], Objective]
_MAKERS: dict[str, Maker] = {}


def register_objective(name: str) -> Callable[[Maker], Maker]:
    """Make an objective available to :func:`matgl_fill.fill_tune`, alone or in a sum such as ``"descriptor+mine"``.

    Args:
        name: a word that is not taken.

    Raises:
        InputError: the name is taken, or no word.

    Example:
        >>> @register_objective("density")
        ... def density(material):
        ...     known, new = (np.array([[s.density] for s in x]) for x in (material.pool, material.fill))
        ...     return ReadoutObjective("density", material.scale, (material.Z, known), material.fill, new, 1.0)
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
    """What :func:`matgl_fill.fill_tune` takes as objective, alone or joined by ``+``."""
    return ["auto", "oracle", *_MAKERS]


def label_free(objective: str, material: Material) -> list[Objective]:
    """The label-free terms of a checked objective."""
    names = ["descriptor"] if objective == "auto" else objective.split("+")
    return [_MAKERS[name](material) for name in names if name != "oracle"]


def check_objective(objective: str, labels: bool) -> None:
    """Refuse what could not be made, before anything is computed.

    Args:
        objective: as in :func:`matgl_fill.fill_tune`.
        labels: an oracle or labelled crystals are given.

    Raises:
        InputError: an unknown objective, ``"oracle"`` without labels, or labels without ``"oracle"``.
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
def _descriptor(m: Material) -> Objective:
    crystals = [*m.fill, *m.copies]
    targets = describe_structures(crystals)
    weights = m.config.descriptor_weight, m.config.pool_descriptor_weight or 0.0
    return ReadoutObjective("descriptor", m.scale, (m.Z, m.D), crystals, targets, *weights)


@register_objective("denoise")
def _denoise(m: Material) -> Objective:
    return denoising(m.adapter, m.scale, m.fill, m.config.denoise_weight, m.rng)
