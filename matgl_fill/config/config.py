"""The settings of a run: what a user said, and what was decided for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from matgl_fill.config.file import check_names, read_settings
from matgl_fill.errors import InputError

Choice = Literal["roughness", "random", "farthest", "dissimilar"]
"""Where to fill, see :func:`matgl_fill.generation.choose_targets`."""


class _Settings(BaseModel):
    """Frozen, strict about names, each field explained by the text below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class SearchConfig(_Settings):
    """Where crystals are generated."""

    choice: Choice = "roughness"
    """Where to fill: at maxima of the local roughness and, where these are few, at the roughest crystals of other
    regions. The others are controls, to compare with: pool crystals at random, those farthest from each other, or those
    that resemble their latent neighbours least."""
    neighbours: int = Field(default=10, ge=2)
    """Latent neighbours in the response and in the graph."""


class TrainingConfig(_Settings):
    """What is trained on, for how long, and what is held."""

    form: Literal["add", "correct", "overwrite"] = "add"
    """What becomes of what is learnt. ``"add"``: the original stays as it is, bitwise, and a tuned branch is attached
    to it, so that the embedding is original ⊕ tuned; where there are labels for a potential, a correction of its
    energies in closed form is attached too, if it holds on labelled crystals left out. ``"correct"``: that correction
    alone, without any gradient step. ``"overwrite"``: the tuned weights replace the original's, held back by replay,
    and the embedding keeps its width; this reproduces the published method, and gains less (docs/results)."""
    copies: int = Field(default=20, ge=0)
    """Augmentations of every generated crystal that are trained on with it: strained, rattled, and with probability
    ``redecorate`` other elements put in."""
    enlarge_pool: int = Field(default=3000, ge=0)
    """A smaller pool is made up to about so many crystals by augmentations, at most ``copies`` of each, that label-free
    objectives see too; not where ``pool_descriptor_weight`` is 0."""
    oracle_copies: int = Field(default=1, ge=0)
    """How many augmentations of every crystal the oracle labels; the others only label-free objectives see."""
    redecorate: float = Field(default=1.0, ge=0, le=1)
    """Probability that an augmentation gets other elements."""
    rattle: float = Field(default=0.05, ge=0)
    """Largest standard deviation of the augmentations' displacements, Angstrom."""
    strain: float = Field(default=0.01, ge=0)
    """Standard deviation of the augmentations' strain components."""
    steps: int = Field(default=400, ge=0)
    """Optimiser steps."""
    batch_size: int = Field(default=25, ge=1)
    """Generated crystals per step and objective."""
    replay_batch: int | None = Field(default=None, ge=1)
    """Pool crystals per step; by default as many as the model's adapter says."""
    lr: float | None = Field(default=None, ge=0)
    """Peak learning rate (one cycle of AdamW); by default what the model's adapter says, and 2e-4 where a potential is
    overwritten, whose forces have to be kept."""
    descriptor_weight: float = Field(default=1.0, ge=0)
    """Weight of the descriptor objective."""
    pool_descriptor_weight: float | None = Field(default=None, ge=0)
    """Weight, relative to it, of the descriptors of the pool crystals that are replayed, which cost no further pass; by
    default 1 where the tuned copy is added and 0 where it overwrites the original."""
    denoise_weight: float = Field(default=0.3, ge=0)
    """Weight of the denoising objective, where it is asked for; alone it gains less than descriptors (docs/results)."""
    response_weight: float | None = Field(default=None, ge=0)
    """Weight of the response objective: stiffness, force constants, pressure and energy, from the oracle or, for
    potentials that are overwritten without one, from the model itself; by default 1 where the tuned weights overwrite
    the original and 0.3 where they are added to it."""
    oracle_weight: float | None = Field(default=None, ge=0)
    """Weight of the oracle's energies, forces and stresses; by default 1 and 0.1."""
    replay_weight: float | None = Field(default=None, ge=0)
    """Weight of holding pool embeddings (standardised units, squared); by default 10 where the tuned weights overwrite
    the original and 0 where they are added to it, for what is kept need not be held."""
    force_replay_weight: float = Field(default=30.0, ge=0)
    """Weight of holding a potential's own energies, forces and stresses on the generated crystals, when no oracle
    replaces them."""
    prediction_weight: float | None = Field(default=None, ge=0)
    """Weight of holding the model's own predictions on the pool; by default 10 where the tuned weights overwrite the
    original and 0.1 where they are added to it."""
    align_size: int = Field(default=100, ge=10)
    """Pool crystals that the oracle labels to align its level of theory."""
    replay_size: int = Field(default=4000, ge=1)
    """Pool crystals that are replayed."""
    average_from: float = Field(default=0.6, ge=0, le=1)
    """Weights are averaged over the steps after this fraction of the run."""
    processes: int = Field(default=1, ge=1)
    """Processes that share the crystals of every step of the training by PyTorch's DDP, one thread each; at most as
    many as the smallest batch has crystals. Two give the bits of one with one thread. Not on Windows."""


class GuardConfig(_Settings):
    """Budgets of the guard, measured on a part of the pool that training never sees."""

    holdout: float = Field(default=0.2, gt=0, lt=1)
    """Fraction of the pool that training never sees; the guard judges on it."""
    max_prediction_drift: float = Field(default=0.05, ge=0)
    """Mean absolute change of the model's own prediction on the held-out pool, over the standard deviation of that
    prediction."""
    max_energy_shift: float = Field(default=1e-3, ge=0)
    """Mean energy shift of potentials on the held-out pool, eV/atom."""
    max_force_drift: float = Field(default=0.02, ge=0)
    """Force change of potentials on the held-out pool, over the mean force."""
    min_recovery: float = Field(default=0.92, le=1)
    """How much of the original embedding a linear map must recover from the tuned one on the held-out pool: R2 over
    standardised dimensions, as a fraction of what the same map recovers from the original."""
    max_proxy_loss: float = Field(default=1.0, ge=0)
    """How much worse (percent MAE) a label-free proxy probe, or all of them on average, may become."""


class ResolvedTraining(TrainingConfig):
    """Training settings in which nothing is left open."""

    replay_batch: int = Field(ge=1)
    lr: float = Field(ge=0)
    pool_descriptor_weight: float = Field(ge=0)
    response_weight: float = Field(ge=0)
    oracle_weight: float = Field(ge=0)
    replay_weight: float = Field(ge=0)
    prediction_weight: float = Field(ge=0)


class ResolvedConfig(_Settings):
    """Every setting of a run on one model, decided."""

    search: SearchConfig
    training: ResolvedTraining
    guard: GuardConfig


class FillConfig(_Settings):
    """Settings of a fill-tuning run; the defaults were chosen by the rule in docs/method/settings.md.

    The settings are grouped, and every name is in one group only, so that the group may be left out:
    ``FillConfig(steps=100)`` is ``FillConfig(training={"steps": 100})``. What is None the model's adapter decides.

    Attributes:
        search: where crystals are generated.
        training: what is trained on, for how long, and what is held.
        guard: budgets that the tuned model has to keep.

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
        """The same config with some settings changed, each by its name alone."""
        said = {name: getattr(self, name).model_dump(exclude_unset=True) for name in type(self).model_fields}
        return FillConfig.make({k: v for group in said.values() for k, v in group.items()} | settings)

    def flat(self) -> dict[str, Any]:
        """Every setting by its name alone."""
        return {name: value for group in self.model_dump().values() for name, value in group.items()}

    def says(self, name: str) -> bool:
        """Whether a setting was given, even if as its default."""
        return name in getattr(self, GROUP_OF[name]).model_fields_set

    def resolved(self, is_potential: bool, replay_batch: int, rate: float) -> ResolvedConfig:
        """The same config with everything decided that was left open.

        Args:
            is_potential: the model is a potential.
            replay_batch: pool crystals per step that the model's adapter takes.
            rate: peak learning rate that it takes.
        """
        add = self.training.form == "add"
        defaults = {
            "lr": rate if add or not is_potential else 2e-4,
            "replay_batch": replay_batch,
            "oracle_weight": 0.1 if add else 1.0,
            "response_weight": 0.3 if add else 1.0,
            "pool_descriptor_weight": 1.0 if add else 0.0,
            "replay_weight": 0.0 if add else 10.0,
            "prediction_weight": 0.1 if add else 10.0,
        }
        said = {name: value for name, value in self.training.model_dump().items() if value is not None}
        return ResolvedConfig(search=self.search, training=ResolvedTraining(**defaults | said), guard=self.guard)

    @classmethod
    def make(cls, config: FillConfig | dict[str, Any] | str | Path | None) -> FillConfig:
        """A config from a config, a dictionary of changes, a TOML or YAML file, or None for the defaults.

        Raises:
            InputError: an unknown name or a value out of range.
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
