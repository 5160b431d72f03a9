"""Hashes of models, crystals, arrays and settings, by which stored results are found again."""

from __future__ import annotations

import hashlib
from typing import Any

import matgl
import numpy as np
import torch
from pymatgen.core import Structure
from torch import Tensor, nn


def hash_parts(*parts: object) -> str:
    """SHA-256 over the bytes of arrays, over bytes, and over the text of anything else."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def hash_model(model: nn.Module) -> str:
    """Hash of a model's classes, weights and backend; it changes whenever the embedding could."""
    backend = getattr(matgl.config, "BACKEND", "PYG")
    digest = hashlib.sha256(f"{matgl.__version__} {backend} {model!r}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def hash_structure(structure: Structure, context: str = "") -> bytes:
    """Hash of cell, elements and coordinates, and of a context such as a model and settings."""
    digest = hashlib.sha256(context.encode())
    for array in (structure.lattice.matrix, np.array(structure.atomic_numbers), structure.frac_coords):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def hash_state(state: Any) -> str:
    """SHA-256 over the kinds and bytes of arrays, tensors, numbers and texts, in containers of any depth."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            digest.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, np.ndarray):
            digest.update(f"array {value.dtype.str} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, dict):
            digest.update(f"dict {len(value)}".encode())
            for item in value.items():
                add(item)
        elif isinstance(value, list | tuple):
            digest.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)}".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{type(value).__name__} {value!r};".encode())

    add(state)
    return digest.hexdigest()
