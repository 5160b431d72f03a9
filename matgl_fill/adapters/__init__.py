"""MatGL model -> invariant embedding; the only room that knows MatGL layers."""

from __future__ import annotations

from torch import nn

from matgl_fill.adapters.base import Adapter, Batch, Graph, Output, evaluation_mode
from matgl_fill.adapters.chgnet import CHGNetAdapter
from matgl_fill.adapters.m3gnet import M3GNetAdapter
from matgl_fill.adapters.megnet import MEGNetAdapter
from matgl_fill.adapters.qet import QETAdapter
from matgl_fill.adapters.so3net import SO3NetAdapter
from matgl_fill.adapters.tensornet import TensorNetAdapter
from matgl_fill.adapters.wrappers import core_of, make_savable, read_checkpoint
from matgl_fill.errors import ModelError

ADAPTERS: tuple[type[Adapter], ...] = (
    MEGNetAdapter,
    M3GNetAdapter,
    TensorNetAdapter,
    SO3NetAdapter,
    CHGNetAdapter,
    QETAdapter,
)


def get_adapter(model: nn.Module, state: int | None = None) -> Adapter:
    """The adapter for ``model``.

    Args:
        model: MatGL property model, ``TransformedTargetModel``, ``Potential`` or bare core model.
        state: fidelity index of multi-fidelity models, default 0.

    Raises:
        ModelError: no adapter serves this architecture.
    """
    core = core_of(model)
    for adapter in ADAPTERS:
        if type(core) in (adapter.core_class, adapter.filled_class):
            return adapter(model, state)
    known = ", ".join(a.core_class.__name__ for a in ADAPTERS)
    raise ModelError(f"no adapter for {type(core).__name__}; matgl_fill serves {known}.")


__all__ = [
    "ADAPTERS",
    "Adapter",
    "Batch",
    "CHGNetAdapter",
    "Graph",
    "M3GNetAdapter",
    "MEGNetAdapter",
    "Output",
    "QETAdapter",
    "SO3NetAdapter",
    "TensorNetAdapter",
    "core_of",
    "evaluation_mode",
    "get_adapter",
    "make_savable",
    "read_checkpoint",
]
