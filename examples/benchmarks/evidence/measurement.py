"""What the standing benchmark can measure: arms, variants and changes of the config.

An arm is what becomes of the embedding: nothing, concatenated descriptors, the features of all layers, or fill-tuning
with one choice of where to fill. A variant is a change of the config by which an ablation differs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from examples.benchmarks.evidence.devices import DEVICES
from examples.benchmarks.evidence.statistics import AS_IS
from matgl_fill.config.config import Choice, FillConfig
from matgl_fill.errors import InputError
from matgl_fill.training.registry import check_objective

BASELINES = ("none", "descriptors")
"""Scored in any case: what the others are compared with."""
UNTRAINED = (*BASELINES, "layers")
FILL = get_args(Choice)
ABLATION: dict[str, dict[str, Any]] = {
    AS_IS: {},
    "pool alone": {"descriptor_weight": 1e-6, "pool_descriptor_weight": 1e6},
    "untrained copy": {"steps": 0},
    "no prediction replay": {"prediction_weight": 0.0},
    "embedding replay": {"replay_weight": 1.0},
    "no copies": {"copies": 0},
    "no redecoration": {"redecorate": 0.0},
    "no averaging": {"average_from": 1.0},
    "half the steps": {"steps": 200},
    "overwrite": {"form": "overwrite"},
    "descriptor weight 0.3": {"descriptor_weight": 0.3},
    "overwrite, L2-SP": {"form": "overwrite", "objective": "descriptor+l2sp"},
    "overwrite, first half frozen": {"form": "overwrite", "device": "first half frozen"},
    "overwrite, low rank": {"form": "overwrite", "device": "low rank"},
    "L2-SP": {"objective": "descriptor+l2sp"},
    "first half frozen": {"device": "first half frozen"},
    "low rank": {"device": "low rank"},
    "denoising alone": {"objective": "denoise"},
    "descriptors and denoising": {"objective": "descriptor+denoise"},
}
"""Changes by name, of the config, the objective and the model (``device``, see
:mod:`examples.benchmarks.evidence.devices`). In "pool alone" the generated crystals weigh nothing and the descriptors
of the pool what they always do; "untrained copy" is what reading the original a second time, as copies are read,
gives by itself."""


@dataclass(frozen=True)
class Measurement:
    """What one line measures, and by what it is found again.

    Attributes:
        model: name.
        tasks: name of the folder or file of labelled crystals.
        half: of the standing tasks, empty for a file.
        rows: crystals per task at most.
        folds: fold shuffles of every probe.
        arm: one of :data:`UNTRAINED` or :data:`FILL`; the others only matter to the latter.
        pool: name.
        n: crystals to fill with.
        oracle: name.
        base: changes of the config that all variants share.
        variant: name of the further changes.
        changes: these, of the config, the objective and the model.
        seed: of the whole run.
    """

    model: str
    tasks: str
    half: str
    rows: int
    folds: int
    arm: str
    pool: str | None = None
    n: int | None = None
    oracle: str | None = None
    base: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None


def changes_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Changes of config and objective from ``FIELD=VALUE`` words.

    Raises:
        InputError: a word is none, or there is no such field, value or objective.

    Example:
        >>> changes_of(["steps=3", "form=overwrite"])
        {'steps': 3, 'form': 'overwrite'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"'{pair}' is no change of the config; write FIELD=VALUE, for example steps=50.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    if "choice" in found:
        raise InputError("choice is what --arms says; leave it out of --set.")
    objective = found.get("objective", "auto")
    check_objective(objective, labels="oracle" in objective)
    if (device := found.get("device")) not in (None, *DEVICES):
        raise InputError(f"no device '{device}'; there are {', '.join(DEVICES)}.")
    FillConfig.make({k: v for k, v in found.items() if k not in ("objective", "device")})
    return found


def plan(
    shared: dict[str, Any], filling: dict[str, Any], arms: Sequence[str], seeds: Sequence[int], changes: dict[str, Any]
) -> list[Measurement]:
    """Measurements of one call: the untrained arms, then seed by seed, so that what is there early compares.

    Args:
        shared: fields of every measurement.
        filling: further fields of those that fill.
        arms: of :data:`UNTRAINED` and :data:`FILL`; the baselines are measured in any case.
        seeds: of the arms that fill.
        changes: of the config, by name of the variant.
    """
    first = [Measurement(**shared, arm=arm) for arm in UNTRAINED if arm in (*BASELINES, *arms)]
    return first + [
        Measurement(**shared, **filling, arm=arm, variant=name, changes=change, seed=seed)
        for seed in seeds
        for name, change in changes.items()
        for arm in FILL
        if arm in arms
    ]
