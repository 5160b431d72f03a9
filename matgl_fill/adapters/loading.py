"""Loading and saving of models: checked, run as the MatGL that made them ran them, saved so that MatGL reads them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from matgl.data.transformer import LogTransformer, Normalizer
from matgl.models import TransformedTargetModel
from torch import nn

from matgl_fill.adapters.assemble import build_model
from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.files import ModelFiles, read_files
from matgl_fill.adapters.legacy.messages import turned
from matgl_fill.adapters.legacy.origin import MatGL, origin_of
from matgl_fill.errors import MatglFillWarning
from matgl_fill.structures.bundled import MODEL, MODELS

if backend.NAME == "PYG":
    from matgl_fill.adapters.legacy.judge import the_right_one
    from matgl_fill.adapters.legacy.reading import TODAYS, Reading, read_as, reading_of


def load_model(name_or_path: str | Path, legacy: bool | None = None) -> nn.Module:
    """Load a MatGL model from a directory or by its hub name, also where plain MatGL cannot or would predict wrong.

    Since MatGL 2.2, 3 and 4.1 the same weights mean something else, and MatGL loads older files without an error and
    predicts wrong values. Here they predict what they predicted on the MatGL that made them:

    * What made the file is found out from the file (:func:`matgl_fill.adapters.legacy.origin.origin_of`).
    * Where that leaves a doubt, the model is read in each way, and predictions on relaxed crystals or molecules decide
      (:func:`matgl_fill.adapters.legacy.judge.the_right_one`).
    * Where these do not tell either, the model is read as today's MatGL reads it if that can have made it, and as the
      oldest that can have made it otherwise, with a warning.

    Args:
        name_or_path: Model directory (``model.pt``, ``state.pt``, ``model.json``), pretrained name, or ``"default"``
            and ``"potential"`` for the bundled models.
        legacy: True to read the model as the oldest MatGL that can have made it did, False as today's does, None to
            find out.

    Returns:
        The model in training mode, as MatGL builds it; once saved again, plain ``matgl.load_model`` reads it, where
        this package is installed if the model's class is one of this package.

    Raises:
        ModelError: The model does not exist, cannot be read, is refused, or is too old to be run.
    """
    source = MODELS.get(str(name_or_path), name_or_path)
    files = read_files(source)
    if backend.NAME == "DGL":
        if Path(source) == MODEL:  # from MatGL 4, whose messages go the other way
            files = replace(files, state=turned("MEGNet", files.state))
        model = build_model(files)
    else:
        model = _read_on_pyg(files, legacy)
    make_savable(model)
    return model


def _read_on_pyg(files: ModelFiles, legacy: bool | None) -> nn.Module:
    """Build a model of checked files with the meaning that its weights had for the MatGL that made it."""
    possible = sorted(origin_of(files) or MatGL)  # files edited by hand may contradict themselves: predictions decide
    origins: dict[Reading, MatGL] = {}
    for made_by in possible[:1] if legacy else possible:
        origins.setdefault(reading_of(files, made_by), made_by)
    readings = [TODAYS] if legacy is False else list(origins)
    models = [build_model(read_as(files, reading)) for reading in readings]
    too_near = min(possible) >= MatGL.V3  # M3GNets of MatGL 3, 4.0 and 4.1 differ by 1e-4 eV/atom
    chosen = 0 if len(models) == 1 else None if too_near else the_right_one(models)
    if chosen is None:
        todays = MatGL.SINCE_4_1 in possible  # if not, the oldest: MatGL 2.2 to 4.0 were in use for weeks only
        chosen = len(models) - 1 if todays else 0
        _warn(
            f"it is unclear which MatGL made '{files.source}': {', '.join(map(str, possible))} are possible, and its "
            f"predictions differ between them; it is read as by the {'newest' if todays else 'oldest'}. Give "
            "load_model(..., legacy=True) for the oldest or legacy=False for today's MatGL."
        )
    elif readings[chosen] != TODAYS:
        made_by = origins[readings[chosen]]
        _warn(
            f"'{files.source}' was made before MatGL {'3' if made_by <= MatGL.V2_2 else '4.1'} ({made_by}), when its "
            "weights meant something else; here it predicts what it predicted then. 'matgl-fill upgrade' writes a copy "
            "for today's MatGL; load_model(..., legacy=False) reads the files as today's MatGL does."
        )
    return models[chosen]


def _warn(text: str) -> None:
    warnings.warn(text, MatglFillWarning, stacklevel=4)


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
