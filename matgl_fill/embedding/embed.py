"""One call from structures to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter, evaluation_mode, get_adapter, in_threads, packed
from matgl_fill.embedding.cache import EmbeddingCache
from matgl_fill.embedding.usable import check_usable
from matgl_fill.errors import InputError
from matgl_fill.structures import describe_structures, read_aligned
from matgl_fill.utils.console import track
from matgl_fill.utils.hashing import hash_model, hash_structure
from matgl_fill.utils.modes import usual_autograd
from matgl_fill.utils.validation import as_int

CHUNK_CRYSTALS = 256
"""Largest number of crystals whose graphs one thread holds at a time."""

Level = Literal["structure", "atom"]
Pooling = Literal["model", "mean", "sum", "max"]
Layers = Literal["last", "all"]


@usual_autograd()
def embed(
    model: nn.Module,
    structures: Any,
    level: Level = "structure",
    batch_size: int | Literal["auto"] = "auto",
    progress: bool = False,
    pooling: Pooling = "model",
    layers: Layers = "last",
    state: int | None = None,
    descriptors: bool = False,
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
) -> np.ndarray:
    """Invariant embedding of crystals by a MatGL model.

    The model is used in evaluation mode without gradients, on its device or another, and is left exactly as it was.
    Graphs are built beside the computation, on as many threads as ``torch.get_num_threads()``; the result does not
    depend on their number, and no more than a few hundred graphs are held at a time.

    Args:
        model: Any MatGL model that :func:`get_adapter` serves.
        structures: Anything :func:`matgl_fill.read_structures` takes, or what it returned: then crystals that
            could not be read are left out, and its ``ids`` name the rows.
        level: Level of the rows: ``"structure"`` for one row a crystal, ``"atom"`` for one row an atom (crystals in
            order).
        batch_size: Number of crystals per model call; ``"auto"`` sorts by size and fills batches up to a budget of
            edges that is found from the width of the model.
        progress: Show a progress bar on a terminal.
        pooling: Pooling of atoms to a crystal: ``"model"`` is the architecture's own structure embedding (its adapter's
            docstring says which tensor), the others pool the atom features.
        layers: Atom features after the last block, or after every block side by side (``pooling="model"`` then
            means their mean).
        state: Fidelity index of multi-fidelity models.
        descriptors: Append the columns of :func:`matgl_fill.describe` (structure level only).
        cache: SQLite file of embeddings keyed by weights, settings and structure, and of descriptors; made if missing.
            What it holds is not computed again, and a call that was interrupted goes on from it.

        device: Device to compute on, for example ``"cuda"``; the model's own if not given.

    Returns:
        Embedding (n, dim) or (total atoms, dim_atom), float32; more columns with ``layers="all"``.

    Raises:
        InputError: A structure could not be read or holds an element that the model does not support, an option is
            none of its choices, or ``cache`` is a file of another kind.
    """
    check_words(level=level, pooling=pooling, layers=layers)
    adapter = get_adapter(model, state).on(device)
    pool = read_aligned(structures)
    check_usable(adapter, pool.ids, pool.structures, "remove it or use a model that covers it")
    if batch_size != "auto" and as_int("batch_size", batch_size) < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1, or 'auto'.")
    reading = Reading(level, pooling, layers, None if batch_size == "auto" else batch_size)
    with opened(cache) as store:
        rows = rows_of(adapter, pool.structures, reading, store, progress)
        Z = np.concatenate(rows) if level == "atom" else np.stack(rows)
        return np.hstack([Z, described(pool.structures, store)]) if descriptors else Z


def opened(cache: str | Path | None) -> AbstractContextManager[EmbeddingCache | None]:
    """The cache of a file, to be used in a ``with`` statement; None where no file is given."""
    return EmbeddingCache(cache) if cache else nullcontext()


def described(structures: Sequence[Structure], store: EmbeddingCache | None) -> np.ndarray:
    """Descriptors (n, k) in float32: what the cache holds from there, the rest computed and put there."""
    if store is None:
        return describe_structures(structures).astype(np.float32)
    keys = [hash_structure(s, f"{version('matgl_fill')} descriptors") for s in structures]
    stored = store.get(keys)
    missing = {k: s for k, s in zip(keys, structures, strict=True) if k not in stored}
    new = describe_structures(list(missing.values())).astype(np.float32)
    store.put(dict(zip(missing, new, strict=True)))
    rows = stored | dict(zip(missing, new, strict=True))
    return np.stack([rows[k] for k in keys])


def check_words(**given: str) -> None:
    """Refuse a word that none of the choices is."""
    kinds = {"level": Level, "pooling": Pooling, "layers": Layers}
    for name, word in given.items():
        if word not in get_args(kinds[name]):
            raise InputError(f"{name} is '{word}'; there are {', '.join(map(repr, get_args(kinds[name])))}.")


@dataclass(frozen=True)
class Reading:
    """What is read from a model, see :func:`embed`."""

    level: Level
    pooling: Pooling
    layers: Layers
    batch_size: int | None = None

    def __call__(self, adapter: Adapter, structures: Sequence[Structure]) -> list[np.ndarray]:
        """One array for each crystal: (k,), or (atoms, k) at atom level."""
        graphs = adapter.graphs(structures)
        rows: list[np.ndarray] = [np.empty(0)] * len(graphs)
        for index, batch in adapter.batches(graphs, self.batch_size):
            with torch.no_grad():
                out = adapter.forward(batch, self.layers == "all")
            if self.level == "structure" and self.pooling == "model" and self.layers == "last":
                parts = list(out.embedding.cpu())
            else:
                atoms = torch.cat(out.layers, dim=1) if self.layers == "all" else out.atoms
                parts = [self._pooled(a) for a in torch.split(atoms.cpu(), batch.n_atoms.tolist())]
            for i, part in zip(index, parts, strict=True):
                rows[i] = part.float().cpu().numpy()
        return rows

    def _pooled(self, atoms: torch.Tensor) -> torch.Tensor:
        """Atom features (N, k) of one crystal as they are, or pooled to (k,)."""
        if self.level == "atom":
            return atoms
        if self.pooling == "max":
            return atoms.max(dim=0).values
        return atoms.sum(dim=0) if self.pooling == "sum" else atoms.mean(dim=0)


def rows_of(
    adapter: Adapter,
    structures: Sequence[Structure],
    reading: Reading,
    store: EmbeddingCache | None = None,
    progress: bool = False,
) -> list[np.ndarray]:
    """Arrays of all crystals in order: what the cache holds from there, the rest computed and put there."""
    rows: dict[int, np.ndarray] = {}
    keys: list[bytes] = []
    if store:
        settings = f"{reading.level} {reading.pooling} {reading.layers} {adapter.fidelity}"
        context = f"{version('matgl_fill')} {hash_model(adapter.model)} {settings}"
        keys = [hash_structure(s, context) for s in structures]
        stored = store.get(keys)
        shapes = [(len(s), -1) if reading.level == "atom" else (-1,) for s in structures]
        rows = {i: stored[k].reshape(shapes[i]) for i, k in enumerate(keys) if k in stored}
    missing = [i for i in range(len(structures)) if i not in rows]
    chunks = _chunks(adapter, structures, missing, reading.batch_size)
    with evaluation_mode(adapter.model):
        done = in_threads(adapter, lambda a, chunk: reading(a, [structures[i] for i in chunk]), chunks)
        for chunk, parts in zip(track(chunks, "embedding") if progress else chunks, done, strict=True):
            rows.update(zip(chunk, parts, strict=True))
            if store:
                store.put({keys[i]: rows[i] for i in chunk})
    return [rows[i] for i in range(len(structures))]


def _chunks(
    adapter: Adapter, structures: Sequence[Structure], wanted: Sequence[int], batch_size: int | None
) -> list[list[int]]:
    """Crystals that one thread reads at a time, large ones first so that the threads end together.

    Sizes are estimated as the edges of a uniform density; the batches inside a chunk go by true numbers.
    """
    sphere = 4 / 3 * np.pi * adapter.cutoff**3
    edges = {i: len(structures[i]) ** 2 * sphere / structures[i].volume for i in wanted}
    order = sorted(wanted, key=lambda i: -edges[i])
    if batch_size is not None:
        return packed(order, edges.__getitem__, np.inf, batch_size)
    return packed(order, edges.__getitem__, adapter.edges_per_batch if len(order) > 1 else np.inf, CHUNK_CRYSTALS)
