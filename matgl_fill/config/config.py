"""The one config object."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matgl_fill.config.file import check_names, read_settings
from matgl_fill.errors import InputError

Choice = Literal["roughness", "random", "farthest", "dissimilar"]
"""Where to fill, see :func:`matgl_fill.generation.choose_targets`."""


class FillConfig(BaseModel):
    """Settings of a fill-tuning run; the defaults were chosen by the rule in docs/settings.md.

    Attributes:
        choice: where to fill: maxima of the local roughness and, where these are few, the roughest crystals of other
            regions, or one of three controls: pool crystals at random, those farthest from each other, or those that
            resemble their latent neighbours least.
        form: what becomes of what is learnt. ``"add"``: the original stays as it is, bitwise, and a tuned branch is
            attached to it, so that the embedding is original ⊕ tuned; where there are labels for a potential, a
            correction of its energies in closed form is attached too, if it holds on labelled crystals left out.
            ``"correct"``: that correction alone, without any gradient step. ``"overwrite"``: the tuned weights replace
            the original's, held back by replay, and the embedding keeps its width.
        neighbours: latent neighbours in the response and in the graph.
        copies: altered copies of every generated crystal that are trained on with it: strained, rattled, and with
            probability ``redecorate`` other elements put in.
        enlarge_pool: a smaller pool is made up to about so many crystals by altered copies, at most ``copies`` of each,
            that label-free objectives see too; not where ``pool_descriptor_weight`` is 0.
        oracle_copies: how many of them the oracle labels; the others only label-free objectives see.
        redecorate: see ``copies``.
        rattle: largest standard deviation of the copies' displacements, Angstrom.
        strain: standard deviation of the copies' strain components.
        steps: optimiser steps.
        batch_size: generated crystals per step and objective.
        replay_batch: pool crystals per step; by default as many as the model's adapter says.
        lr: peak learning rate (one cycle of AdamW); by default what the model's adapter says, and 2e-4 where a
            potential is overwritten, whose forces have to be kept.
        descriptor_weight: weight of the descriptor objective.
        pool_descriptor_weight: weight, relative to it, of the descriptors of the pool crystals that are replayed, which
            cost no further pass; by default 1 where the tuned copy is added and 0 where it overwrites the original.
        denoise_weight: weight of the denoising objective, where it is asked for.
        response_weight: weight of the response objective: stiffness, force constants, pressure and energy, from the
            oracle or, for potentials that are overwritten without one, from the model itself; by default 1 where the
            tuned weights overwrite the original and 0.3 where they are added to it.
        oracle_weight: weight of the oracle's energies, forces and stresses; by default 1 and 0.1.
        replay_weight: weight of holding pool embeddings (standardised units, squared); by default 10 where the tuned
            weights overwrite the original and 0 where they are added to it, for what is kept need not be held.
        force_replay_weight: weight of holding a potential's own energies, forces and stresses on the generated
            crystals, when no oracle replaces them.
        prediction_weight: weight of holding the model's own predictions on the pool; by default 10 where the tuned
            weights overwrite the original and 0.1 where they are added to it.
        align_size: pool crystals that the oracle labels to align its level of theory.
        replay_size: pool crystals that are replayed.
        average_from: weights are averaged over the steps after this fraction of the run.
        holdout: fraction of the pool that training never sees; the guard judges on it.
        max_prediction_drift: mean absolute change of the model's own prediction on the held-out pool, over the
            standard deviation of that prediction.
        max_energy_shift: mean energy shift of potentials on the held-out pool, eV/atom.
        max_force_drift: force change of potentials on the held-out pool, over the mean force.
        min_recovery: how much of the original embedding a linear map must recover from the tuned one on the held-out
            pool: R2 over standardised dimensions, as a fraction of what the same map recovers from the original.
        max_proxy_loss: how much worse (percent MAE) a label-free proxy probe, or all of them on average, may become.
        processes: that share the crystals of every step of the training by PyTorch's DDP, one thread each; at most as
            many as the smallest batch has crystals. Two give the bits of one with one thread. Not on Windows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    choice: Choice = "roughness"
    form: Literal["add", "correct", "overwrite"] = "add"
    neighbours: int = Field(10, ge=2)
    copies: int = Field(20, ge=0)
    enlarge_pool: int = Field(3000, ge=0)
    oracle_copies: int = Field(1, ge=0)
    redecorate: float = Field(1.0, ge=0, le=1)
    rattle: float = Field(0.05, ge=0)
    strain: float = Field(0.01, ge=0)
    steps: int = Field(400, ge=0)
    batch_size: int = Field(25, ge=1)
    replay_batch: int | None = Field(None, ge=1)
    lr: float | None = Field(None, ge=0)
    descriptor_weight: float = Field(1.0, ge=0)
    pool_descriptor_weight: float | None = Field(None, ge=0)
    denoise_weight: float = Field(0.3, ge=0)
    response_weight: float | None = Field(None, ge=0)
    oracle_weight: float | None = Field(None, ge=0)
    replay_weight: float | None = Field(None, ge=0)
    force_replay_weight: float = Field(30.0, ge=0)
    prediction_weight: float | None = Field(None, ge=0)
    align_size: int = Field(100, ge=10)
    replay_size: int = Field(4000, ge=1)
    average_from: float = Field(0.6, ge=0, le=1)
    holdout: float = Field(0.2, gt=0, lt=1)
    max_prediction_drift: float = Field(0.05, ge=0)
    max_energy_shift: float = Field(1e-3, ge=0)
    max_force_drift: float = Field(0.02, ge=0)
    min_recovery: float = Field(0.92, le=1)
    max_proxy_loss: float = Field(1.0, ge=0)
    processes: int = Field(1, ge=1)

    def resolved(self, is_potential: bool, replay_batch: int, rate: float) -> FillConfig:
        """The same config with everything decided that was left open.

        Args:
            is_potential: the model is a potential.
            replay_batch: pool crystals per step that the model's adapter takes.
            rate: peak learning rate that it takes.
        """
        add = self.form == "add"
        defaults = {
            "lr": rate if add or not is_potential else 2e-4,
            "replay_batch": replay_batch,
            "oracle_weight": 0.1 if add else 1.0,
            "response_weight": 0.3 if add else 1.0,
            "pool_descriptor_weight": 1.0 if add else 0.0,
            "replay_weight": 0.0 if add else 10.0,
            "prediction_weight": 0.1 if add else 10.0,
        }
        return self.model_copy(update={k: v for k, v in defaults.items() if getattr(self, k) is None})

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
        check_names(changes, cls)
        try:
            return cls(**changes)
        except ValidationError as err:
            first = err.errors()[0]
            where, given = ".".join(map(str, first["loc"])), first["input"]
            raise InputError(f"config: {where} = {given!r}: {first['msg']}.") from None
