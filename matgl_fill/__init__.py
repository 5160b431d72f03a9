"""Fill-tuning for MatGL.

Finds where a pretrained model's latent space is rough, generates about 100 crystals there, continues pretraining on
them without downstream labels, and hands the model over only if nothing was lost (arXiv 2502.13886).
"""

from __future__ import annotations

from matgl_fill.adapters import Adapter, get_adapter, load_model, register_adapter
from matgl_fill.calculator import FillCalculator, Watcher
from matgl_fill.config.config import FillConfig
from matgl_fill.embedding.embed import embed
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
    "FillResult",
    "Watcher",
    "analyze_roughness",
    "compare",
    "describe",
    "embed",
    "evaluate",
    "fill_tune",
    "get_adapter",
    "load_model",
    "propose",
    "read_structures",
    "register_adapter",
]
