"""Adapters of MatGL models: embeddings, predictions and forces; the only room that knows MatGL's layers."""

from matgl_fill.adapters.architectures.chgnet import CHGNetAdapter
from matgl_fill.adapters.architectures.m3gnet import M3GNetAdapter
from matgl_fill.adapters.architectures.megnet import MEGNetAdapter
from matgl_fill.adapters.architectures.qet import QETAdapter
from matgl_fill.adapters.architectures.so3net import SO3NetAdapter
from matgl_fill.adapters.architectures.tensornet import TensorNetAdapter
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.batching import in_threads, packed
from matgl_fill.adapters.correction import KernelCorrection
from matgl_fill.adapters.graphs import Batch, Graph, Output
from matgl_fill.adapters.loading import load_model, make_savable
from matgl_fill.adapters.modes import evaluation_mode
from matgl_fill.adapters.predict import Predictions, predict
from matgl_fill.adapters.registry import get_adapter, register_adapter
from matgl_fill.adapters.wrappers import core_of, on_device

__all__ = [
    "Adapter",
    "Batch",
    "CHGNetAdapter",
    "Graph",
    "KernelCorrection",
    "M3GNetAdapter",
    "MEGNetAdapter",
    "Output",
    "Predictions",
    "QETAdapter",
    "SO3NetAdapter",
    "TensorNetAdapter",
    "backend",
    "core_of",
    "evaluation_mode",
    "get_adapter",
    "in_threads",
    "load_model",
    "make_savable",
    "on_device",
    "packed",
    "predict",
    "register_adapter",
]
