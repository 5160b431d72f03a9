"""Core models to which a tuned branch, a correction, or both are attached."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from matgl.apps.pes import Potential
from matgl.models import QET, CHGNet, M3GNet, MEGNet, SO3Net, TensorNet, TransformedTargetModel
from torch import Tensor, nn

from matgl_fill.adapters.correction import KernelCorrection, add_correction
from matgl_fill.adapters.gate import ElementGate, mixed_call, twin_with
from matgl_fill.adapters.wrappers import copied, core_of
from matgl_fill.errors import ModelError


class Filled:
    """A MatGL core model to which a tuned branch, a correction, or both are attached.

    It *is* the original model: class, weights and forward pass are inherited and bitwise the same. These may be
    attached:

    - ``tuned_branch``, a copy of the same architecture that was fill-tuned: :func:`matgl_fill.embed` concatenates the
      embeddings of both, and predictions stay the original's. No information of the original embedding can be lost,
      because the new one contains it. The branch may have ``bounds`` (2, width), the least and the greatest value of
      every dimension: far from its training set a network can give any value, and a single one spoils a probe;
    - ``correction``, a :class:`~matgl_fill.adapters.correction.KernelCorrection` of the energies of a potential; the
      embedding stays the original's;
    - ``tuned_core``, a potential's core that was trained on labels of a class of crystals, and whose energies take the
      place of the original's for atoms among the elements of that class alone, see
      :class:`~matgl_fill.adapters.gate.ElementGate`. Any other crystal is computed as before, to the bit.

    ``save`` and ``matgl.load_model`` work as for any MatGL model; this package has to be installed where it is read.

    Args:
        tuned_branch: Whether there is a tuned branch.
        correction: Number of environments and width of the correction; None where there is none.
        bounds: Width of the branch's bounds; None where it has none.
        class_elements: Elements of the class that a tuned core is for; None where there is no tuned core.
        kwargs: Keyword arguments of the core model.
    """

    tuned_branch: nn.Module | None
    correction: KernelCorrection | None
    feature_dict: dict[str, Any]
    tuned_core: nn.Module | None
    gate: ElementGate | None

    def __init__(
        self,
        tuned_branch: bool = True,
        correction: tuple[int, int] | None = None,
        bounds: int | None = None,
        class_elements: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        tuned_branch = kwargs.pop("side", tuned_branch)  # files of version 0.1.0 call it so, see _load_from_state_dict
        super().__init__(**kwargs)
        self._init_args = kwargs | {"tuned_branch": tuned_branch, "correction": correction, "bounds": bounds}
        if class_elements:
            self._init_args["class_elements"] = class_elements
        branch = type(self).__mro__[2](**kwargs) if tuned_branch else None
        attach(self, branch, KernelCorrection(*correction) if correction else None)
        if bounds:
            bound(self, torch.empty(2, bounds))
        if class_elements:
            attach_tuned_core(self, type(self).__mro__[2](**kwargs), class_elements)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take the weights of files of version 0.1.0 too, which call the branch ``side`` and the centres ``places``."""
        old_names = {
            f"{prefix}side.": f"{prefix}tuned_branch.",
            f"{prefix}correction.places": f"{prefix}correction.centres",
        }
        for key in list(state_dict):
            for old, new in old_names.items():
                if key.startswith(old):
                    state_dict[new + key.removeprefix(old)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[misc]

    def forward(self, g: Any, *args: Any, **kwargs: Any) -> Any:
        """Output of the core, in which a tuned core takes the original's place where the gate is open."""
        original = super().forward  # type: ignore[misc]
        shares = None if self.gate is None else self.gate(g)
        if shares is None:
            return original(g, *args, **kwargs)

        def call(core: Any) -> Any:
            return core(copy.copy(g), *args, **kwargs)

        tuned: Any = copy.copy(self.tuned_core)
        if len(shares) > 1:
            output, self.feature_dict = mixed_call(self.original(), tuned, shares, call)
            return output
        output = call(tuned)
        self.feature_dict = tuned.feature_dict
        return output

    def original(self) -> Any:
        """Twin of the core, with the same weights, in which no tuned core takes its place."""
        return twin_with(self, gate=None)

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:  # noqa: ARG004
        """Atom embedding (N, k) of a core from its ``feature_dict``; every architecture has its own."""
        raise ModelError(f"{type(core).__name__} has no atom features; its Filled class should define atom_features.")


class FilledMEGNet(Filled, MEGNet):
    """MEGNet with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:
        """Atom features (N, k) after the last block."""
        return features[f"gc_{len(core.blocks)}"]["node_feat"]


class FilledTensorNet(Filled, TensorNet):
    """TensorNet with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:  # noqa: ARG004
        """Invariant norms (N, k) after the last interaction, mixed by the network's own linear layer."""
        return features["readout"]


class FilledM3GNet(Filled, M3GNet):
    """M3GNet with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:
        """Atom features (N, k) after the last block."""
        return features[f"gc_{core.n_blocks}"]["node_feat"]


class FilledCHGNet(Filled, CHGNet):
    """CHGNet with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:
        """Atom features (N, k) after the last atom block."""
        return features[f"gc_{core.n_blocks}"]["atom_feat"]


class FilledSO3Net(Filled, SO3Net):
    """SO3Net with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:  # noqa: ARG004
        """Features (N, k) of l = 0 after the last block."""
        return features["scalar_representation"]


class FilledQET(Filled, QET):
    """QET with a tuned branch, a correction, or both."""

    @staticmethod
    def atom_features(core: Any, features: dict[str, Any]) -> Tensor:  # noqa: ARG004
        """Atom features (N, k) that enter the output network."""
        return features["node_feat"]


def attach(core: Any, branch: nn.Module | None, correction: KernelCorrection | None) -> None:
    """Attach a tuned branch, a correction, or both to a core model of a :class:`Filled` class."""
    core.tuned_branch, core.correction = branch, correction
    core.tuned_core = core.gate = None
    if correction is not None:
        core.register_forward_hook(add_correction, with_kwargs=True)


def attach_tuned_core(core: Any, tuned: nn.Module, elements: Sequence[str]) -> None:
    """Attach a tuned core to a core model of a :class:`Filled` class, for crystals of some elements."""
    device = next(core.parameters()).device
    inside = torch.tensor([symbol in elements for symbol in core.element_types], device=device)
    core.tuned_core, core.gate = tuned, ElementGate(inside, float(core.cutoff))


def bound(core: Any, limits: Tensor) -> None:
    """Bound the embedding of a core's tuned branch to lower and upper limits (2, width)."""
    core.tuned_branch.register_buffer("bounds", limits)
    core._init_args["bounds"] = limits.shape[1]


def attached(
    model: nn.Module, filled_class: type[Any], branch: nn.Module | None, correction: KernelCorrection | None
) -> nn.Module:
    """Copy ``model`` and attach a tuned branch, a correction, or both to the copy's core.

    Args:
        model: Original model, wrapped or bare; it stays as it is.
        filled_class: The core's class with :class:`Filled` mixed in.
        branch: Fill-tuned core of the same architecture; it becomes part of the new model.
        correction: Correction of the energies, in the unit of the core's output; it becomes part of the new model.
    """
    new, core = _as_filled(model, filled_class, tuned_branch=branch is not None, correction=_size(correction))
    attach(core, branch, correction)
    return new


def with_tuned_core(model: nn.Module, filled_class: type[Any], tuned: nn.Module, elements: Sequence[str]) -> nn.Module:
    """Copy ``model`` and attach a tuned core to the copy's core, see :class:`Filled`.

    Args:
        model: Original potential; it stays as it is.
        filled_class: The core's class with :class:`Filled` mixed in.
        tuned: Trained core of the same architecture; it becomes part of the new model.
        elements: Elements of the class that it was trained on.
    """
    new, core = _as_filled(model, filled_class, tuned_branch=False, class_elements=sorted(elements))
    attach(core, None, None)
    attach_tuned_core(core, tuned, elements)
    return new


def _size(correction: KernelCorrection | None) -> tuple[int, int] | None:
    return correction.size if correction else None


def _as_filled(model: nn.Module, filled_class: type[Any], **settings: Any) -> tuple[nn.Module, Any]:
    """Copy of a model whose core is of a :class:`Filled` class with these settings, and that core."""
    new = copied(model)
    core = core_of(new)
    core.__class__ = filled_class
    core._init_args |= settings
    if isinstance(new, Potential | TransformedTargetModel):
        named = {"@class": filled_class.__name__, "@module": filled_class.__module__, "init_args": core._init_args}
        new._init_args["model"] |= named
    return new, core
