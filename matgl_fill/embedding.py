"""One call from structures to embeddings."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from matgl_fill.adapters import evaluation_mode, get_adapter
from matgl_fill.descriptors import describe_structures
from matgl_fill.errors import InputError
from matgl_fill.io import read_structures
from matgl_fill.progress import track


def embed(
    model: nn.Module,
    structures: Any,
    level: Literal["structure", "atom"] = "structure",
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = False,
    pooling: Literal["model", "mean", "sum", "max"] = "model",
    layers: Literal["last", "all"] = "last",
    state: int | None = None,
    descriptors: bool = False,
) -> np.ndarray:
    """Invariant embedding of crystals by a MatGL model.

    The model is used in evaluation mode without gradients and is left exactly as it was.

    Args:
        model: any MatGL model that :func:`get_adapter` serves.
        structures: anything :func:`matgl_fill.io.read_structures` takes.
        level: ``"structure"`` for one row a crystal, ``"atom"`` for one row an atom (crystals in order).
        batch_size: crystals per model call; ``"auto"`` sorts by size and fills batches up to a budget of edges.
        progress: show a progress bar on a terminal.
        pooling: how atoms become a crystal: ``"model"`` is the architecture's own structure embedding (its adapter's
            docstring says which tensor), the others pool the atom features.
        layers: atom features after the last block, or after every block side by side (``pooling="model"`` then
            means their mean).
        state: fidelity index of multi-fidelity models.
        descriptors: append the columns of :func:`matgl_fill.describe` (structure level only).

    Returns:
        float32 array, (n, dim) or (total atoms, dim_atom); more columns with ``layers="all"``.

    Raises:
        InputError: a structure could not be read or holds an element the model does not know.
    """
    adapter = get_adapter(model, state)
    pool = read_structures(structures)
    if pool.skipped:
        raise InputError(f"{pool.skipped[0].where}: {pool.skipped[0].reason}; remove it to keep rows aligned.")
    for name, structure in zip(pool.ids, pool.structures, strict=True):
        if problem := adapter.problem(structure):
            raise InputError(f"{name}: {problem}; remove it or use a model that covers it.")
    graphs = adapter.graphs(pool.structures)
    if batch_size != "auto" and batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or 'auto'.")
    batches = adapter.batches(graphs, max_crystals=None if batch_size == "auto" else batch_size)
    rows: list[np.ndarray] = [np.empty(0)] * len(graphs)
    with evaluation_mode(model), torch.no_grad():
        for index, batch in track(batches, "embedding") if progress else batches:
            out = adapter.forward(batch, layers == "all")
            atoms = torch.cat(out.layers, dim=1) if layers == "all" else out.atoms
            if level == "structure" and pooling == "model" and layers == "last":
                parts = list(out.embedding.numpy())
            else:
                parts = [_pooled(a, level, pooling) for a in torch.split(atoms, batch.n_atoms.tolist())]
            for i, part in zip(index, parts, strict=True):
                rows[i] = part
    if level == "atom":
        return np.concatenate(rows)
    Z = np.stack(rows)
    return np.hstack([Z, describe_structures(pool.structures).astype(np.float32)]) if descriptors else Z


def _pooled(atoms: torch.Tensor, level: str, pooling: str) -> np.ndarray:
    """Atom features (N, k) of one crystal as they are, or pooled to (k,)."""
    if level == "atom":
        return atoms.numpy()
    if pooling == "max":
        return atoms.max(dim=0).values.numpy()
    return (atoms.sum(dim=0) if pooling == "sum" else atoms.mean(dim=0)).numpy()
