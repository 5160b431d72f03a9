"""Registry of adapters: those of this package, and those that other packages register."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from torch import nn

from matgl_fill.adapters.architectures.chgnet import CHGNetAdapter
from matgl_fill.adapters.architectures.m3gnet import M3GNetAdapter
from matgl_fill.adapters.architectures.megnet import MEGNetAdapter
from matgl_fill.adapters.architectures.qet import QETAdapter
from matgl_fill.adapters.architectures.so3net import SO3NetAdapter
from matgl_fill.adapters.architectures.tensornet import TensorNetAdapter
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.wrappers import core_of
from matgl_fill.errors import ModelError

_registered: list[type[Adapter]] = [
    MEGNetAdapter,
    M3GNetAdapter,
    TensorNetAdapter,
    SO3NetAdapter,
    CHGNetAdapter,
    QETAdapter,
]
if backend.NAME == "PYG":
    from matgl_fill.adapters.legacy.m3gnet import LegacyM3GNetAdapter
    from matgl_fill.adapters.legacy.qet import LegacyQETAdapter
    from matgl_fill.adapters.legacy.tensornet import LegacyTensorNetAdapter

    _registered += [LegacyM3GNetAdapter, LegacyTensorNetAdapter, LegacyQETAdapter]


def register_adapter(adapter: type[Adapter]) -> type[Adapter]:
    """Register the adapter of one more architecture; use it as a decorator.

    A package can also name its adapter as an entry point of the group ``matgl_fill.adapters``; it is imported when a
    model comes that no adapter of this package serves. ``matgl_fill.testing.AdapterContract`` holds the tests to
    inherit.

    Args:
        adapter: Subclass of :class:`Adapter` with ``core_class``, ``filled_class``, ``training_*``, ``read`` and
            ``read_layers``.
    """
    if adapter not in _registered:
        _registered.append(adapter)
    return adapter


def get_adapter(model: nn.Module, state: int | None = None) -> Adapter:
    """Make the adapter of ``model``.

    Args:
        model: MatGL property model, ``TransformedTargetModel``, ``Potential`` or bare core model.
        state: Fidelity index of multi-fidelity models, by default 0.

    Raises:
        ModelError: No adapter serves this architecture, or ``model`` is a name or a path.
    """
    if isinstance(model, str | Path):
        raise ModelError(f"'{model}' is a name, not a model; give matgl_fill.load_model('{model}').")
    core = core_of(model)
    if _serving(core) is None:
        _register_installed()
    adapter = _serving(core)
    if adapter is None:
        served = ", ".join(a.core_class.__name__ for a in _registered)
        raise ModelError(f"{type(core).__name__} is not a model that matgl_fill supports; give one of {served}.")
    return adapter(model, state)


def _serving(core: nn.Module) -> type[Adapter] | None:
    return next((a for a in _registered if type(core) in (a.core_class, a.filled_class)), None)


def registered_class(module: str, name: str) -> type[nn.Module] | None:
    """Core or filled class of that module and name, which an adapter serves; None where there is none."""
    if (module, name) not in _classes():
        _register_installed()
    return _classes().get((module, name))


def _classes() -> dict[tuple[str, str], type[Any]]:
    served = [served for a in _registered for served in (a.core_class, a.filled_class)]
    return {(c.__module__, c.__name__): c for c in served}


def _register_installed() -> None:
    """Register the adapters that installed packages name as entry points."""
    for entry in entry_points(group="matgl_fill.adapters"):
        register_adapter(entry.load())
