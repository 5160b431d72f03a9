"""MatGL's wrappers around core models: the core inside, and how they scale its output."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from matgl.apps.pes import Potential
from matgl.models import TransformedTargetModel
from torch import Tensor, nn

from matgl_fill.errors import InputError


def core_of(model: nn.Module) -> Any:
    """Graph network inside a ``Potential`` or ``TransformedTargetModel``, or ``model`` itself."""
    return model.model if isinstance(model, Potential | TransformedTargetModel) else model


def copied(model: nn.Module, shared: Iterable[Tensor] = ()) -> nn.Module:
    """Copy a model without the features that its last call left, which hold an autograd graph and cannot be copied.

    Args:
        model: Model, wrapped or bare; it stays as it is.
        shared: Parameters and buffers that the copy is to share with the model.
    """
    memo: dict[int, Any] = {id(m.feature_dict): {} for m in model.modules() if hasattr(m, "feature_dict")}
    return copy.deepcopy(model, memo | {id(t): t for t in shared})


def on_device(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    """Copy of a model on a device; the model itself where it is there already, or no device is named.

    Raises:
        InputError: There is no such device.
    """
    if device is None:
        return model
    try:
        wanted = torch.empty(0, device=device).device
        return model if next(model.parameters()).device == wanted else copied(model).to(wanted)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:  # as PyTorch's builds have it
        raise InputError(
            f"device is {str(device)!r}, which cannot be used ({str(error).splitlines()[0]}); 'matgl-fill doctor' says "
            "which can."
        ) from error


@contextmanager
def forwarding(module: nn.Module, forward: Any) -> Iterator[None]:
    """Give a module another forward pass, inside the block."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


def is_potential(model: nn.Module) -> bool:
    """Whether the model predicts the energy of the cell in eV (a MatGL ``Potential``)."""
    return isinstance(model, Potential)


def scale_prediction(model: nn.Module, raw: Tensor, graph: Any) -> Tensor:
    """Turn the core's output (B,) into the wrapped model's own unit, as its wrapper does."""
    if isinstance(model, TransformedTargetModel):
        return model.transformer.inverse_transform(raw)
    if isinstance(model, Potential):
        energy = model.data_std * raw + model.data_mean
        if model.calc_repuls:
            energy = energy + model.repuls(model.model.element_types, graph)
        if model.element_refs is not None:
            energy = energy + torch.squeeze(model.element_refs(graph))
        return energy
    return raw
