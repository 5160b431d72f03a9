"""The request of a call of fill_tune, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from matgl_fill.adapters import Adapter
from matgl_fill.config import FillConfig, ResolvedConfig
from matgl_fill.errors import InputError, ModelError
from matgl_fill.training.correction.solve import can_correct
from matgl_fill.training.labels import Oracle, resolve
from matgl_fill.training.registry import check_objective
from matgl_fill.utils.files import check_writable
from matgl_fill.utils.validation import as_int, check_seed

NOT_CORRECTED = (
    "form 'correct' corrects energies: it needs a MatGL Potential on PyG, and an oracle or labelled crystals; "
    "for anything else leave form out."
)


@dataclass(frozen=True)
class FillRequest:
    """A checked request to fill-tune one model.

    Attributes:
        adapter: Adapter of the model.
        n: Number of crystals to generate.
        objective: Name of the objective, as in :func:`matgl_fill.fill_tune`.
        oracle: Oracle that labels, if there is one.
        seed: Seed of all random choices.
        settings: Every setting, decided for the model.
        tunes_potential: Whether the weights of a potential are trained on labels.
    """

    adapter: Adapter
    n: int
    objective: str
    oracle: Oracle | None
    seed: int
    settings: ResolvedConfig
    tunes_potential: bool

    @property
    def beyond_defaults(self) -> bool:
        """Whether the learning rate or the number of steps is larger than the model's default."""
        given, adapter = self.settings.training, self.adapter
        plain = FillConfig.make({"form": given.form})
        usual = _resolved(plain, adapter, self.tunes_potential).training
        return given.lr > usual.lr or given.steps > usual.steps

    @classmethod
    def checked(
        cls, adapter: Adapter, n: Any, objective: str, oracle: Any, seed: Any, config: Any, labelled: bool
    ) -> FillRequest:
        """Check the arguments of a call and make the request from them.

        Args:
            adapter: Adapter of the model.
            n: Number of crystals to generate.
            objective: Name of the objective, as in :func:`matgl_fill.fill_tune`.
            oracle: Anything that :func:`matgl_fill.training.resolve` takes, or None.
            seed: Seed of all random choices.
            config: Anything that :meth:`matgl_fill.FillConfig.make` takes.
            labelled: Whether crystals come with labels.

        Raises:
            InputError: An argument cannot be used, or does not go with another.
            ModelError: The model is fill-tuned already, or its weights are not float32.
            OracleError: The oracle is missing.
        """
        n, seed = as_int("n", n), check_seed(seed)
        has_labels = labelled or oracle is not None
        check_objective(objective, has_labels)
        source = None if oracle is None else resolve(oracle)
        settings = FillConfig.make(config)
        if adapter.is_filled:
            raise ModelError("this model is fill-tuned already; give the original (result.undo()) and the larger pool.")
        if other := next((p.dtype for p in adapter.core.parameters() if p.dtype != torch.float32), None):
            raise ModelError(f"the model's weights are {other}, and training runs in float32; give model.float().")
        if settings.training.form == "correct" and not (has_labels and can_correct(adapter)):
            raise InputError(NOT_CORRECTED)
        learns = has_labels and objective in ("auto", "oracle") and settings.training.form != "correct"
        tunes_potential = learns and can_correct(adapter)
        resolved = _resolved(settings, adapter, tunes_potential)
        if resolved.training.processes > 1 and adapter.device.type != "cpu":
            raise InputError(f"processes share a CPU's cores, and the model is on {adapter.device}; give processes=1.")
        return cls(adapter, n, objective, source, seed, resolved, tunes_potential)


def _resolved(settings: FillConfig, adapter: Adapter, tunes_potential: bool) -> ResolvedConfig:
    """Settings with every open value decided for a model, and for what is trained."""
    rate = adapter.label_rate if tunes_potential else adapter.training_rate
    return settings.resolved(adapter.is_potential, adapter.training_replay, rate, tunes_potential)


def check_arguments(out: str | Path | None, resume: bool, oracle: Any, proposals: Any, labelled: Any) -> None:
    """Refuse arguments of :func:`matgl_fill.fill_tune` that exclude each other, and a folder that cannot be written to.

    Raises:
        InputError: The arguments exclude each other, or ``out`` is a file or cannot be written to.
    """
    if resume and out is None:
        raise InputError("resume needs the folder of the interrupted run; give it as out.")
    if out is not None and Path(out).is_file():
        raise InputError(f"out is the file '{out}'; give a folder.")
    if out is not None:
        check_writable(out)
    if labelled is not None and (oracle is not None or proposals is not None):
        raise InputError("labelled crystals need neither an oracle nor proposals; give one of them.")
