"""The classes that models are made of, which a model's files may name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matgl.apps.pes
import matgl.data.transformer
import matgl.layers
import matgl.models

from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.registry import registered_class
from matgl_fill.errors import ModelError

CORE, WRAPPER, TRANSFORMER, LAYER = "core", "wrapper", "transformer", "layer"
"""What a class is to a model: the graph network, what wraps it, the target's scaling, or a part."""
ARCHITECTURES = ("MEGNet", "M3GNet", "CHGNet", "TensorNet", "SO3Net", "QET")
PUBLIC = {CORE: matgl.models, WRAPPER: matgl.models, TRANSFORMER: matgl.data.transformer, LAYER: matgl.layers}


def _named() -> dict[tuple[str, str], str]:
    """Role of each of MatGL's classes, by module and name; its modules have had other names in older versions."""
    names = {
        (f"matgl.models{module}", architecture): CORE
        for architecture in ARCHITECTURES
        for module in ("", *(f"._{architecture.lower()}{suffix}" for suffix in ("", "_dgl", "_pyg")))
    }
    names |= {(f"matgl.apps.{module}", "Potential"): WRAPPER for module in ("pes", "_pes", "_pes_dgl", "_pes_pyg")}
    names |= {(module, "TransformedTargetModel"): WRAPPER for module in ("matgl.models", "matgl.models._wrappers")}
    names |= {("matgl.data.transformer", name): TRANSFORMER for name in ("Normalizer", "LogTransformer")}
    return names | {(module, "BondExpansion"): LAYER for module in ("matgl.layers", "matgl.layers._bond")}


NAMED = _named()
"""Role of each of MatGL's classes, by module and name."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A class that a model's files name, and the arguments with which it is made.

    Attributes:
        name: Name of the class.
        module: Module that the file names, which may be one of an older MatGL.
        version: Version of the class that wrote the file; 0 where the file has none.
        args: Arguments of the constructor; nested classes are entries.
    """

    name: str
    module: str
    version: int
    args: Mapping[str, Any]

    @property
    def nested(self) -> list[Entry]:
        """Entries directly among the arguments."""
        return [value for value in self.args.values() if isinstance(value, Entry)]


def role_of(name: str, module: str) -> str | None:
    """What a class of that name is to a model; None if no model is made of it. Nothing is imported by it.

    Besides MatGL's classes these are the core and filled classes of all adapters, those of other packages included.
    """
    if (module, name) in NAMED:
        return NAMED[module, name]
    return CORE if registered_class(module, name) else None


def find_class(name: str, module: str) -> Any:
    """Class of a name for which :func:`role_of` gives a role.

    Raises:
        ModelError: It is not on the list, or this MatGL has no such class.
    """
    role = role_of(name, module)
    if role is None:
        raise ModelError(f"{module}.{name} is not one of the classes that MatGL's models are made of.")
    if (module, name) not in NAMED:
        return registered_class(module, name)
    if backend.NAME == "DGL" and module.endswith("_pyg"):
        raise ModelError(
            "it was saved with PyG, but MatGL runs on DGL here; unset MATGL_BACKEND and install matgl>=4.1.2."
        )
    try:
        if backend.NAME == "DGL":  # two classes of one name serve the two graph libraries
            return getattr(importlib.import_module(module), name)
        return getattr(matgl.apps.pes if name == "Potential" else PUBLIC[role], name)
    except (ImportError, AttributeError) as err:
        raise ModelError(
            f"MatGL {matgl.__version__} on {backend.NAME} has no {module}.{name}; install the MatGL that saved it."
        ) from err
