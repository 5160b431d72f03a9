"""Loading and saving of models: read safely, saved so that plain MatGL reads them, upgraded if from before MatGL 3.

MatGL 3 reversed the direction of its messages: since then they are summed at the source atom.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matgl.data.transformer import LogTransformer, Normalizer
from matgl.models import TransformedTargetModel
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from matgl_fill.adapters.assemble import build_model
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.files import ModelFiles, read_files
from matgl_fill.adapters.filled import Filled
from matgl_fill.adapters.registry import get_adapter
from matgl_fill.adapters.wrappers import core_of
from matgl_fill.errors import MatglFillWarning, ModelError
from matgl_fill.structures import describe_structures
from matgl_fill.structures.bundled import MODEL, MODELS, bundled_pool

TURNED = ("MEGNet", "TensorNet")
"""Architectures whose old weights :func:`turn_messages` upgrades."""
SAMPLE = 200
"""Number of bundled crystals on which a checkpoint is judged."""
MIN_GAIN = 1.08
"""A checkpoint is reversed if that divides the unexplained variance of its predictions by at least this."""
MAX_FORCE = 0.08
"""Mean force (eV/Angstrom) on relaxed crystals above which an old M3GNet potential is taken to be read wrongly."""
DGL_HINT = (
    "MatGL 3 and newer cannot run M3GNet checkpoints of that time; use the DGL backend: pip install 'matgl_fill[dgl]', "
    "MATGL_BACKEND=DGL and DGLBACKEND=pytorch"
)


def load_model(name_or_path: str | Path, legacy: bool | None = None) -> nn.Module:
    """Load a MatGL model from a directory or by its hub name, also where plain MatGL cannot or would predict wrong.

    Since MatGL 3 messages are summed at the source atom. Checkpoints from before load without an error and predict
    wrong values. Those that this package has written on PyG say so in ``model.json`` and are left as they are. No file
    of MatGL's says when it was made, so the others are judged by what they predict on the bundled crystals, which are
    relaxed:

    * MEGNet and TensorNet: the direction is reversed (exactly, by swapping the weights that read the two ends of a
      bond), and the direction is kept in which composition and structure explain the predictions clearly better, by
      cross-validated ridge regression on plain descriptors; the unexplained variance has to fall by a factor
      ``MIN_GAIN``. Untrained or new models do not reach that.
    * M3GNet cannot be reversed. A file that still has the buffer which MatGL has dropped since (``onehot``) and
      whose mean force on relaxed crystals is beyond ``MAX_FORCE`` is refused, as are those that MatGL itself refuses.

    Args:
        name_or_path: Model directory (``model.pt``, ``state.pt``, ``model.json``), pretrained name, or ``"default"``
            and ``"potential"`` for the bundled models.
        legacy: True if the checkpoint is from before MatGL 3, False if it is not, None to find out.

    Returns:
        The model as MatGL builds it; once saved again, plain ``matgl.load_model`` reads it.

    Raises:
        ModelError: The model does not exist, cannot be read, or is too old to be upgraded.
    """
    source = MODELS.get(str(name_or_path), name_or_path)
    files = read_files(source)
    try:
        model = build_model(files)
    except ModelError as err:
        raise ModelError(f"{err} {DGL_HINT}.") if "older, incompatible version" in str(err) else err from None
    make_savable(model)
    core, path = core_of(model), Path(source)
    if backend.NAME == "DGL":
        if path == MODEL:
            turn_messages(core)  # the bundled model is from MatGL 4
        return model
    if isinstance(core, Filled):
        return model
    if legacy is None:
        legacy = not _is_written_here(files) and _is_legacy(model, files)
    if legacy:
        _upgrade(core, source)
    return model


def make_savable(model: nn.Module) -> None:
    """Let ``model.save`` write a ``TransformedTargetModel`` that plain ``matgl.load_model`` reads.

    The target transformer is recorded in MatGL's own ``@class``/``@module``/``init_args`` form instead of as a
    pickled object.
    """
    if not isinstance(model, TransformedTargetModel):
        return
    transformer = model.transformer
    if isinstance(transformer, Normalizer | LogTransformer):
        args = {k: float(getattr(transformer, k)) for k in ("mean", "std") if hasattr(transformer, k)}
        model._init_args["target_transformer"] = {
            "@class": type(transformer).__name__,
            "@module": "matgl.data.transformer",
            "init_args": args,
        }


def _upgrade(core: Any, source: str | Path) -> None:
    """Turn the weights of a core model from before MatGL 3 round, in place, and say so.

    Raises:
        ModelError: It is an M3GNet, which cannot be turned.
    """
    name = type(core).__name__
    if name in TURNED:
        turn_messages(core)
        warnings.warn(
            f"'{source}' is from before MatGL 3: its weights were upgraded to the new message direction; "
            "'matgl-fill upgrade' writes an upgraded copy, load_model(..., legacy=False) leaves it as it is.",
            MatglFillWarning,
            stacklevel=3,
        )
    elif name == "M3GNet":
        raise ModelError(
            f"'{source}' is from before MatGL 3 and cannot be upgraded. {DGL_HINT}; or load_model(..., "
            "legacy=False) if you know that it is newer."
        )


def turn_messages(core: Any) -> None:
    """Swap, in place, the weights that read the two ends of a bond; swapping twice is the identity.

    In TensorNet these are the column halves of ``emb2``; in MEGNet the v_i and v_j columns in the first layer of every
    ``edge_func``.
    """
    with torch.no_grad():
        if type(core).__name__ == "TensorNet":
            weight = core.tensor_embedding.emb2.weight
            half = weight.shape[1] // 2
            weight.copy_(torch.cat([weight[:, half:], weight[:, :half]], dim=1))
            return
        for block in core.blocks:
            weight = block.conv.edge_func.layers[0].weight
            d = weight.shape[1] // 4  # columns: v_i, v_j, bond, state
            weight.copy_(torch.cat([weight[:, d : 2 * d], weight[:, :d], weight[:, 2 * d :]], dim=1))


def _is_written_here(files: ModelFiles) -> bool:
    """Whether ``model.json`` says that this package wrote the checkpoint, on a MatGL with today's direction."""
    return bool(files.metadata.get("matgl_fill", {}).get("backend") == "PYG")


def _is_legacy(model: nn.Module, files: ModelFiles) -> bool:
    """Whether a checkpoint is from before MatGL 3, by what it predicts; False where these do not say."""
    name = type(core_of(model)).__name__
    return _is_turned(model) if name in TURNED else name == "M3GNet" and _is_old_m3gnet(model, files)


def _is_turned(model: nn.Module) -> bool:
    adapter = get_adapter(model)
    other = adapter.clone()
    turn_messages(other.core)
    crystals = bundled_pool(adapter.element_types).structures[:SAMPLE]
    graphs = adapter.graphs(crystals)
    D, atoms = describe_structures(crystals), np.array([len(s) for s in crystals])
    as_is, turned = (_unexplained(D, a.intensive(a.embed_graphs(graphs)[1], atoms)) for a in (adapter, other))
    return as_is > MIN_GAIN * turned


def _unexplained(D: np.ndarray, y: np.ndarray) -> float:
    """Share of the variance of predictions (n,) that descriptors (n, k) do not explain."""
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
    predicted = cross_val_predict(ridge, D, y, cv=KFold(5, shuffle=True, random_state=0))
    return float(((predicted - y) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-12))


def _is_old_m3gnet(model: nn.Module, files: ModelFiles) -> bool:
    adapter = get_adapter(model)
    if not adapter.is_potential or not any(key.endswith(".onehot") for key in files.state):
        return False
    graphs = adapter.graphs(bundled_pool(adapter.element_types).structures[:SAMPLE])
    return bool(np.abs(adapter.forces(graphs)).mean() > MAX_FORCE)
