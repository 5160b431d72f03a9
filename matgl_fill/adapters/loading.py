"""Checkpoints from before MatGL 3, which turned the direction of its messages round."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from matgl_fill.adapters import core_of, get_adapter, read_checkpoint
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.filled import Filled
from matgl_fill.adapters.wrappers import read_model_json
from matgl_fill.errors import MatglFillWarning, ModelError
from matgl_fill.structures.bundled import MODEL, MODELS, bundled_pool
from matgl_fill.structures.descriptors import describe_structures

SAMPLE = 200
"""Bundled crystals on which a checkpoint is judged."""
MIN_GAIN = 1.08
"""A checkpoint is turned round if that divides the unexplained variance of its predictions by at least this."""
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
    of MatGL's says when it was made, so the others are told by what they predict on the bundled crystals, which are
    relaxed:

    * MEGNet and TensorNet: the weights are turned round (exactly, by swapping the blocks that read the two ends of a
      bond), and whichever way composition and structure explain the predictions clearly better is right: plain
      descriptors, ridge regression, cross-validated; the unexplained variance has to fall by a factor ``MIN_GAIN``.
      Untrained or new models do not reach that.
    * M3GNet cannot be turned round. A file that still has the buffer which MatGL has dropped since (``onehot``) and
      whose mean force on relaxed crystals is beyond ``MAX_FORCE`` is refused, as are those that MatGL itself refuses.

    Args:
        name_or_path: model directory (``model.pt``, ``state.pt``, ``model.json``), pretrained name, or ``"default"``
            and ``"potential"`` for the models that the package carries.
        legacy: None to find out; True if the checkpoint is from before MatGL 3, False if it is not.

    Returns:
        The model as MatGL builds it, with a form that plain ``matgl.load_model`` reads once saved again.

    Raises:
        ModelError: the model does not exist, cannot be read, or is too old to be upgraded.
    """
    name_or_path = MODELS.get(str(name_or_path), name_or_path)
    try:
        model = read_checkpoint(name_or_path)
    except ModelError as err:
        raise ModelError(f"{err} {DGL_HINT}.") if "older, incompatible version" in str(err) else err from None
    if backend.NAME == "DGL" and Path(name_or_path) == MODEL:
        turn_messages(core_of(model))  # the bundled model is from MatGL 4
    if backend.NAME == "DGL" or legacy is False or isinstance(core_of(model), Filled):
        return model
    if legacy is None and _is_written_here(Path(name_or_path)):
        return model
    name = type(core_of(model)).__name__
    if name in ("MEGNet", "TensorNet"):
        if legacy or (legacy is None and _is_turned(model)):
            turn_messages(core_of(model))
            warnings.warn(
                f"'{name_or_path}' is from before MatGL 3: its weights were upgraded to the new message direction; "
                "'matgl-fill upgrade' writes an upgraded copy, load_model(..., legacy=False) leaves it as it is.",
                MatglFillWarning,
                stacklevel=2,
            )
    elif name == "M3GNet" and (legacy or (legacy is None and _is_old_m3gnet(model, Path(name_or_path)))):
        raise ModelError(
            f"'{name_or_path}' is from before MatGL 3 and cannot be upgraded. {DGL_HINT}; or load_model(..., "
            "legacy=False) if you know that it is newer."
        )
    return model


def turn_messages(core: Any) -> None:
    """Swap, in place, the weights that read the two ends of a bond; twice is the identity.

    TensorNet: the column halves of ``emb2``. MEGNet: the v_i and v_j columns in the first layer of every ``edge_func``.
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


def _is_written_here(path: Path) -> bool:
    """Whether ``model.json`` says that this package wrote the checkpoint, on a MatGL with today's direction."""
    told = read_model_json(path).get("metadata") or {}
    return told.get("matgl_fill", {}).get("backend") == "PYG"


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


def _is_old_m3gnet(model: nn.Module, path: Path) -> bool:
    adapter = get_adapter(model)
    if not adapter.is_potential or not (path / "state.pt").is_file():
        return False
    state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    if not any(key.endswith(".onehot") for key in state):
        return False
    graphs = adapter.graphs(bundled_pool(adapter.element_types).structures[:SAMPLE])
    return bool(np.abs(adapter.forces(graphs)).mean() > MAX_FORCE)
