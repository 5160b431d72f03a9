"""Hashes of models, crystals, arrays and settings, by which stored results are found again."""

from __future__ import annotations

import hashlib

import matgl
import numpy as np
from pymatgen.core import Structure
from torch import nn


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
