"""The settings of a run: those that a user gives, and those that are decided for a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from matgl_fill.config.file import check_names, read_settings
from matgl_fill.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
Choice = Literal["roughness", "random", "farthest", "dissimilar"]
"""How the latent points to fill are chosen, see :func:`matgl_fill.generation.choose_targets`."""
Kind = Literal["displaced", "strained", "supercell", "vacancy", "surface", "dynamics", "member"]
"""What is proposed for a potential, see :mod:`matgl_fill.generation.configurations`."""


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Types that a field may have."""
    return get_args(annotation) or (annotation,)


class _Settings(BaseModel):
    """A frozen group of settings that refuses unknown names; the text below each field explains it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false, which pydantic takes for 1 and 0."""
        if isinstance(value, bool) and bool not in _kinds(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("give a number or a word, not true or false")
        return value


class SearchConfig(_Settings):
    """Settings of where crystals are generated."""

    choice: Choice = "roughness"
    """Where to fill: at maxima of the local roughness and, where these are few, at the roughest crystals of other
    regions. The other choices are controls to compare with: random pool crystals, those farthest from each other, or
    those that resemble their latent neighbours least."""
    neighbours: int = Field(default=10, ge=2)
    """Number of latent neighbours in the response and in the graph."""
    exclude_elements: tuple[str, ...] = ()
    """Elements that no proposed crystal may hold, such as those without a pseudopotential in your code: a list, or a
    text such as ``"Tc, Po"``."""
    max_atoms: int = Field(default=24, ge=1)
    """Largest number of atoms in the cell of a proposed crystal. Larger crystals of the pool are left alone."""
    shares: dict[Kind, float] = {
        "displaced": 0.4, "strained": 0.1, "supercell": 0.1, "vacancy": 0.1, "surface": 0.1, "dynamics": 0.1,
        "member": 0.1,
    }  # fmt: skip
    """Shares of what is proposed for a potential; a kind that is not named gets none, and only ratios count. Around
    the pool's crystals: ``displaced`` atoms in strained cells, ``strained`` cells, displaced atoms in a ``supercell``,
    with a ``vacancy`` or at a ``surface``, and snapshots of molecular ``dynamics`` by the potential itself. A
    ``member`` is a new crystal for a latent point, displaced too. Property models get new members only, as they are."""

    @field_validator("exclude_elements", mode="before")
    @classmethod
    def _symbols(cls, value: Any) -> Any:
        """Symbols of elements, from a list or a text."""
        from pymatgen.core import Element  # here, for the help of the command line takes only names of settings

        symbols = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if isinstance(symbols, list | tuple) and (bad := [s for s in symbols if not Element.is_valid_symbol(str(s))]):
            raise ValueError(f"{bad[0]!r} is no element; give symbols such as Tc")
        return symbols

    @field_validator("shares", mode="before")
    @classmethod
    def _kinds_with_shares(cls, value: Any) -> Any:
        """Refuse kinds that there are not, and shares that are none."""
        if not isinstance(value, dict):
            raise ValueError("give a table of kinds and their shares")
        if unknown := [kind for kind in value if kind not in get_args(Kind)]:
            raise ValueError(f"no kind {unknown[0]!r}; there are {', '.join(get_args(Kind))}")
        for kind, share in value.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < float("inf"):
                raise ValueError(f"the share of {kind} is {share!r}; give a number from 0 on")
        if not sum(value.values()):
            raise ValueError("no kind has a share; give at least one")
        return value


class TrainingConfig(_Settings):
    """Settings of the training data, the length of the training, and what is held to the original."""

    form: Literal["add", "correct", "overwrite"] = "add"
    """How the model takes up what is learnt. ``"add"``: the original stays as it is, bitwise. A tuned branch is
    attached to it, so that the embedding is original ⊕ tuned; a potential with labels gets tuned weights instead, which
    act among the elements of the labelled crystals alone. ``"overwrite"``: the tuned weights replace the original's,
    held back by replay; the result is a plain MatGL model. For property models this reproduces the published method,
    and gains less (docs/results). ``"correct"``: a correction of a potential's energies is attached, solved in closed
    form without any gradient step."""
    copies: int = Field(default=20, ge=0)
    """Number of augmentations of every generated crystal that are trained on with it: they are strained, rattled, and
    get other elements with probability ``redecorate``."""
    enlarge_pool: int = Field(default=3000, ge=0)
    """Number of crystals to which augmentations enlarge a smaller pool, about, with at most ``copies`` of each crystal;
    label-free objectives see them too. The pool is not enlarged where ``pool_descriptor_weight`` is 0."""
    energy_key: str | None = None
    """Name under which labelled crystals have their energy; by default the first of ``REF_energy``, ``dft_energy`` and
    ``energy`` that is there."""
    forces_key: str | None = None
    """Name of their forces; by default that with the prefix of the energy's, ``forces`` or ``force``."""
    stress_key: str | None = None
    """Name of their stress, or of their virial in eV if it ends so; by default that with the prefix of the energy's."""
    oracle_copies: int = Field(default=1, ge=0)
    """Number of augmentations of every crystal that the oracle labels; only label-free objectives see the others."""
    redecorate: float = Field(default=1.0, ge=0, le=1)
    """Probability that an augmentation gets other elements."""
    rattle: float = Field(default=0.05, ge=0)
    """Largest standard deviation of the augmentations' displacements, Angstrom."""
    strain: float = Field(default=0.01, ge=0)
    """Standard deviation of the augmentations' strain components."""
    steps: int | None = Field(default=None, ge=0)
    """Number of optimiser steps, by default 400, and 350 of each copy where a potential learns from labels."""
    batch_size: int | None = Field(default=None, ge=1)
    """Number of generated crystals per step and objective; by default 25. Where a potential learns from labels it is 5,
    and fewer if these are large."""
    replay_batch: int | None = Field(default=None, ge=1)
    """Number of replayed crystals per step; the model's adapter gives the default, and it is 6 of each kind where a
    potential learns from labels."""
    lr: float | None = Field(default=None, ge=0)
    """Peak learning rate (one cycle of AdamW); by default that of the model's adapter, which has another for labels of
    a potential, and 2e-4 where a potential is overwritten without labels, whose forces have to be kept."""
    descriptor_weight: float = Field(default=1.0, ge=0)
    """Weight of the descriptor objective."""
    pool_descriptor_weight: float | None = Field(default=None, ge=0)
    """Weight, relative to ``descriptor_weight``, of the descriptors of the pool crystals that are replayed, which cost
    no further pass; by default 1 where the tuned copy is added and 0 where it overwrites the original."""
    denoise_weight: float = Field(default=0.3, ge=0)
    """Weight of the denoising objective, where it is asked for; alone it gains less than descriptors (docs/results)."""
    response_weight: float | None = Field(default=None, ge=0)
    """Weight of the response objective: stiffness, force constants, pressure and energy, from the oracle or, for
    potentials that are overwritten without one, from the model itself; by default 1 where the tuned weights overwrite
    the original and 0.3 where they are added to it."""
    oracle_weight: float | None = Field(default=None, ge=0)
    """Weight of the oracle's energies, forces and stresses; by default 1 where the tuned weights overwrite the original
    and 0.1 where they are added to it."""
    replay_weight: float | None = Field(default=None, ge=0)
    """Weight of holding pool embeddings (standardised units, squared); by default 10 where the tuned weights overwrite
    the original and 0 where they are added to it, which keeps the original embedding anyway."""
    force_replay_weight: float | None = Field(default=None, ge=0)
    """Weight of holding a potential to its own energies, forces and stresses: by default 1 where it learns from labels,
    and 30 on the generated crystals where it is overwritten without."""
    prediction_weight: float | None = Field(default=None, ge=0)
    """Weight of holding the model's own predictions on the pool; by default 10 where the tuned weights overwrite the
    original and 0.1 where they are added to it."""
    align_size: int = Field(default=100, ge=10)
    """Number of pool crystals that the oracle labels to align its level of theory."""
    replay_size: int = Field(default=4000, ge=1)
    """Number of pool crystals that are replayed."""
    average_from: float = Field(default=0.6, ge=0, le=1)
    """Fraction of the run after which weights are averaged over the steps."""
    processes: int = Field(default=1, ge=1)
    """Number of processes that share the crystals of every training step by PyTorch's DDP, one thread each; at most as
    many as the smallest batch has crystals. Two give the bits of one with one thread. More than one do not work on
    Windows."""


class GuardConfig(_Settings):
    """Budgets of the guard, measured on a part of the pool that training never sees."""

    holdout: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of the pool that training never sees, and on which the guard judges; of a small pool it is more, 60
    crystals or half of the pool."""
    max_prediction_drift: float = Field(default=0.05, ge=0)
    """Largest mean absolute change of the model's own prediction on the held-out pool, over the standard deviation of
    that prediction."""
    max_energy_shift: float = Field(default=1e-3, ge=0)
    """Largest mean energy shift of potentials on the held-out pool, eV/atom."""
    max_energy_drift: float = Field(default=2e-3, ge=0)
    """Largest mean change of a potential's energies on crystals outside of the class that it learns from labels of,
    elemental shifts apart, eV/atom."""
    max_force_drift: float = Field(default=0.02, ge=0)
    """Largest change of a potential's forces, over the mean force: on the held-out pool, or on crystals outside of the
    class where it learns from labels."""
    min_recovery: float = Field(default=0.92, le=1)
    """Share of the original embedding that a linear map must recover from the tuned one on the held-out pool: R2 over
    standardised dimensions, as a fraction of what the same map recovers from the original."""
    max_proxy_loss: float = Field(default=1.0, ge=0)
    """Largest significant rise of the error (percent MAE) of a label-free proxy probe, or of all of them on average."""
    must_gain: bool | None = None
    """Whether the mean error of the proxy probes has to fall significantly, and not only to keep its budget; then the
    weight of the tuned model by which it falls most is taken. By default where ``lr`` or ``steps`` is larger than its
    default, or where fewer than 60 crystals can judge."""


POTENTIAL_DEFAULTS = {
    "steps": 350,
    "batch_size": 5,
    "replay_batch": 6,
    "force_replay_weight": 1.0,
    "replay_weight": 0.0,
    "prediction_weight": 0.0,
}
"""Settings with which a potential's weights are trained on labels; docs/results says how they were chosen."""


class ResolvedTraining(TrainingConfig):
    """Training settings in which every value is decided."""

    steps: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    replay_batch: int = Field(ge=1)
    lr: float = Field(ge=0)
    force_replay_weight: float = Field(ge=0)
    pool_descriptor_weight: float = Field(ge=0)
    response_weight: float = Field(ge=0)
    oracle_weight: float = Field(ge=0)
    replay_weight: float = Field(ge=0)
    prediction_weight: float = Field(ge=0)


class ResolvedConfig(_Settings):
    """Every setting of a run on one model, all of them decided."""

    search: SearchConfig
    training: ResolvedTraining
    guard: GuardConfig


class FillConfig(_Settings):
    """Settings of a fill-tuning run; the defaults were chosen by the rule in docs/method/defaults.md.

    The settings are grouped, and every name is in one group only, so that the group may be left out:
    ``FillConfig(steps=100)`` is ``FillConfig(training={"steps": 100})``. Settings that are None are decided for the
    model, see :meth:`resolved`.

    Attributes:
        search: Settings of where crystals are generated.
        training: Settings of the training data, the length of the training, and what is held to the original.
        guard: Budgets that the tuned model has to keep.

    Example:
        >>> FillConfig(steps=100, choice="random").training.steps
        100
    """

    search: SearchConfig = SearchConfig()
    training: TrainingConfig = TrainingConfig()
    guard: GuardConfig = GuardConfig()

    @model_validator(mode="before")
    @classmethod
    def _grouped(cls, given: Any) -> Any:
        """Put names that were given without their group into it."""
        if not isinstance(given, dict):
            return given
        grouped: dict[str, Any] = {}
        for name, value in given.items():
            if name in GROUP_OF:
                grouped.setdefault(GROUP_OF[name], {})[name] = value
        rest = {name: value for name, value in given.items() if name not in GROUP_OF}
        for group, values in grouped.items():
            before = rest.get(group, {})
            rest[group] = (before if isinstance(before, dict) else before.model_dump(exclude_unset=True)) | values
        return rest

    def changed(self, **settings: Any) -> FillConfig:
        """A config in which some settings are changed, each given by its name without its group."""
        said = {name: getattr(self, name).model_dump(exclude_unset=True) for name in type(self).model_fields}
        return FillConfig.make({k: v for group in said.values() for k, v in group.items()} | settings)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name, without its group."""
        return {name: value for group in self.model_dump().values() for name, value in group.items()}

    def says(self, name: str) -> bool:
        """Whether a setting was given, even if its value is the default."""
        return name in getattr(self, GROUP_OF[name]).model_fields_set

    def resolved(self, is_potential: bool, replay_batch: int, rate: float, on_labels: bool = False) -> ResolvedConfig:
        """The config with every open setting decided for a model.

        Args:
            is_potential: Whether the model is a potential.
            replay_batch: Number of pool crystals per step that the model's adapter takes.
            rate: Peak learning rate that the model's adapter takes for this.
            on_labels: Whether the weights of a potential are trained on labels.
        """
        add = self.training.form == "add"
        defaults = {
            "steps": 400,
            "batch_size": 25,
            "force_replay_weight": 30.0,
            "lr": rate if add or on_labels or not is_potential else 2e-4,
            "replay_batch": replay_batch,
            "oracle_weight": 0.1 if add else 1.0,
            "response_weight": 0.3 if add else 1.0,
            "pool_descriptor_weight": 1.0 if add else 0.0,
            "replay_weight": 0.0 if add else 10.0,
            "prediction_weight": 0.1 if add else 10.0,
        }
        if on_labels:
            defaults |= POTENTIAL_DEFAULTS
        said = {name: value for name, value in self.training.model_dump().items() if value is not None}
        return ResolvedConfig(search=self.search, training=ResolvedTraining(**defaults | said), guard=self.guard)

    @classmethod
    def make(cls, config: FillConfig | dict[str, Any] | str | Path | None) -> FillConfig:
        """A config from a config, a dictionary of changes, a TOML or YAML file, or None for the defaults.

        Raises:
            InputError: A name is unknown or given twice, a value is out of range, or the file cannot be read.
        """
        if isinstance(config, cls):
            return config
        changes = read_settings(config) if isinstance(config, str | Path) else config or {}
        if not isinstance(changes, dict):
            raise InputError(f"config is a {type(changes).__name__}; give a FillConfig, a dictionary or a file.")
        check_names(changes, [*GROUP_OF, *NAMES])
        for group, names in NAMES.items():
            if isinstance(inner := changes.get(group), dict):
                check_names(inner, names)
                if twice := next((name for name in inner if name in changes), None):
                    raise InputError(f"config: {twice} is given twice, in '{group}' and outside of it; give it once.")
        try:
            return cls(**changes)
        except ValidationError as err:
            first = err.errors()[0]
            where, given = str(first["loc"][-1]), first["input"]
            raise InputError(f"config: {where} = {given!r}: {first['msg']}.") from None


NAMES = {
    group: tuple(kind.model_fields)
    for group, kind in (("search", SearchConfig), ("training", TrainingConfig), ("guard", GuardConfig))
}
"""Names of the settings by group."""
GROUP_OF = {name: group for group, names in NAMES.items() for name in names}
"""The group of each setting."""


def settings_told(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that takes a ``config``, so that a setting among its keywords is told where it belongs.

    Raises:
        InputError: A keyword is no argument of the function, but the name of a setting.
    """
    others = GROUP_OF.keys() - inspect.signature(function).parameters.keys()

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if found := sorted(others & kwargs.keys()):
            given = ", ".join(f"'{name}': {kwargs[name]!r}" for name in found)
            raise InputError(f"{', '.join(found)}: settings go into config; give config={{{given}}}.")
        return function(*args, **kwargs)

    return checked
