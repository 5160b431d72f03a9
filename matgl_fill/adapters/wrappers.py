"""MatGL's wrappers around core models: unwrap, scale, load, copy."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import torch
from matgl.apps.pes import Potential
from matgl.data.transformer import LogTransformer, Normalizer
from matgl.models import TransformedTargetModel
from numpy._core.multiarray import _reconstruct
from torch import Tensor, nn

from matgl_fill.adapters.backends import backend
from matgl_fill.errors import ModelError

SAFE_NUMPY = (
    np.ndarray,
    np.dtype,
    _reconstruct,
    *(getattr(np.dtypes, f"{t}DType") for t in ("Float32", "Float64", "Int32", "Int64")),
)
SAFE_TRANSFORMERS = (Normalizer, LogTransformer)


def core_of(model: nn.Module) -> Any:
    """The graph network inside a ``Potential`` or ``TransformedTargetModel``, or ``model`` itself."""
    return model.model if isinstance(model, Potential | TransformedTargetModel) else model


def is_potential(model: nn.Module) -> bool:
    """True when the model predicts the energy of the cell in eV (a MatGL ``Potential``)."""
    return isinstance(model, Potential)


def scale_prediction(model: nn.Module, raw: Tensor, graph: Any) -> Tensor:
    """Turn the core's output (B,) into the wrapped model's own unit, as its wrapper does."""
    if isinstance(model, TransformedTargetModel):
        return model.transformer.inverse_transform(raw)
    if isinstance(model, Potential):
        energy = model.data_std * raw + model.data_mean
        if model.calc_repuls:
            energy = energy + model.repuls(model.model.element_types, graph)
        if model.element_refs is not None:
            energy = energy + torch.squeeze(model.element_refs(graph))
        return energy
    return raw


def read_checkpoint(name_or_path: str | Path) -> nn.Module:
    """The model of a directory or hub name, also where plain MatGL cannot read it.

    MatGL 4.1.2 refuses any saved ``TransformedTargetModel`` because its ``Normalizer`` is not on the
    allowlist of the restricted unpickler. The class is put on the list for this call only; ``weights_only``
    stays on, so an untrusted file cannot run code.

    Raises:
        ModelError: the model does not exist or cannot be read.
    """
    path = Path(name_or_path)
    if len(path.parts) > 2 and not (path / "model.json").is_file():
        raise ModelError(f"no MatGL model in '{path}'; give a directory with model.pt, state.pt and model.json.")
    _refuse_other_backend(path)
    try:
        with torch.serialization.safe_globals(list(SAFE_TRANSFORMERS)):
            model = matgl.load_model(str(name_or_path))
    except Exception as err:
        cause = err.__cause__ or err
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ModelError(
            f"cannot load a MatGL model from '{name_or_path}': {reason}. "
            "Give a directory with model.pt, state.pt and model.json, or the name of a pretrained model."
        ) from err
    make_savable(model)
    return model


def read_model_json(path: Path) -> dict[str, Any]:
    """What the directory of a model says of it; nothing where there is no such file, as for a hub's name."""
    file = path / "model.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _refuse_other_backend(path: Path) -> None:
    """PyG checkpoints cannot run on DGL: their classes exist, but on graphs of the other library.

    Raises:
        ModelError: MatGL runs on DGL here and the checkpoint names a PyG module; or the pickles hold more than MatGL's
            own types (MatGL 2.2.1 would unpickle anything, so they are read with ``weights_only`` first).
    """
    saved = read_model_json(path) if backend.NAME == "DGL" else {}
    if not saved:
        return
    modules = [saved.get("@module", ""), (saved.get("kwargs", {}).get("model") or {}).get("@module", "")]
    if any(m.endswith("_pyg") for m in modules):
        raise ModelError(
            f"'{path}' was saved on PyG, and MatGL runs on DGL here; unset MATGL_BACKEND, with matgl>=4.1.2."
        )
    for name in ("model.pt", "state.pt"):
        try:
            with torch.serialization.safe_globals([*SAFE_TRANSFORMERS, *SAFE_NUMPY]):
                torch.load(path / name, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as err:
            raise ModelError(
                f"'{path / name}' holds more than weights and settings; it is not loaded: {err}."
            ) from None


def make_savable(model: nn.Module) -> None:
    """Let ``model.save`` write a ``TransformedTargetModel`` that plain ``matgl.load_model`` reads.

    The target transformer is recorded in MatGL's own ``@class``/``@module``/``init_args`` form instead of as a
    pickled object.
    """
    if not isinstance(model, TransformedTargetModel):
        return
    transformer = model.transformer
    if isinstance(transformer, SAFE_TRANSFORMERS):
        args = {k: float(getattr(transformer, k)) for k in ("mean", "std") if hasattr(transformer, k)}
        model._init_args["target_transformer"] = {
            "@class": type(transformer).__name__,
            "@module": "matgl.data.transformer",
            "init_args": args,
        }
