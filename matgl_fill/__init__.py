"""Fill-tuning for MatGL.

Finds where a pretrained model's latent space is rough, generates about 100 crystals there, continues pretraining on
them without downstream labels, and hands the model over only if nothing was lost (arXiv 2502.13886).

Names are imported when they are first used: PyTorch and MatGL take seconds, which ``matgl-fill --help`` does not need.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matgl_fill.adapters import Adapter, get_adapter, load_model, register_adapter
    from matgl_fill.calculator import FillCalculator, Watcher
    from matgl_fill.config import FillConfig
    from matgl_fill.embedding.embed import embed
    from matgl_fill.embedding.featurizer import FillFeaturizer
    from matgl_fill.embedding.shards import embed_shards
    from matgl_fill.evaluation import compare, evaluate
    from matgl_fill.generation.propose import propose
    from matgl_fill.pipeline import fill_tune
    from matgl_fill.report.result import FillResult
    from matgl_fill.roughness import analyze_roughness
    from matgl_fill.structures import describe, read_structures

__version__ = "0.1.0"

__all__ = [
    "Adapter",
    "FillCalculator",
    "FillConfig",
    "FillFeaturizer",
    "FillResult",
    "Watcher",
    "analyze_roughness",
    "compare",
    "describe",
    "embed",
    "embed_shards",
    "evaluate",
    "fill_tune",
    "get_adapter",
    "load_model",
    "propose",
    "read_structures",
    "register_adapter",
]
_PLACES = {
    "adapters": ("Adapter", "get_adapter", "load_model", "register_adapter"),
    "calculator": ("FillCalculator", "Watcher"),
    "config": ("FillConfig",),
    "embedding.embed": ("embed",),
    "embedding.featurizer": ("FillFeaturizer",),
    "embedding.shards": ("embed_shards",),
    "evaluation": ("compare", "evaluate"),
    "generation.propose": ("propose",),
    "pipeline": ("fill_tune",),
    "report.result": ("FillResult",),
    "roughness": ("analyze_roughness",),
    "structures": ("describe", "read_structures"),
}
"""Where the public names are, as the imports for type checkers above say it too."""


def __getattr__(name: str) -> Any:
    """A public name or a module of the package, imported when it is first asked for."""
    for place, names in _PLACES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{place}"), name)
            return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names of the module, with those that are not imported yet."""
    return sorted({*globals(), *__all__})
