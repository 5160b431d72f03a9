"""A model's files, read and checked before anything that they name is imported or called.

MatGL's files can name any class: ``matgl.load_model`` imports every ``@module`` and calls every ``@class`` with
arguments of the file's own, so that a file of nothing but texts and numbers runs a command. Here every name is compared
with the classes that models are made of, and weights and settings are checked, before
:mod:`matgl_fill.adapters.assemble` makes the model from what was checked.
"""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matgl.data.transformer import LogTransformer, Normalizer
from torch import Tensor

from matgl_fill.adapters.classes import CORE, TRANSFORMER, WRAPPER, Entry, role_of
from matgl_fill.adapters.hub import WAY_OUT, files_on_hub
from matgl_fill.adapters.settings import check_settings
from matgl_fill.errors import ModelError
from matgl_fill.utils.archive import read_archive, record_names

FILES = ("model.json", "model.pt", "state.pt")
MAX_BYTES = {"model.json": 2**24, "model.pt": 2**28, "state.pt": 2**31}
"""Largest size of a model's files in bytes; the largest published model has 5 MB."""
AGAIN = "Get its files again from a source that you trust."
KINDS = {"@class": str, "@module": str, "kwargs": dict | None, "metadata": dict | None, "@model_version": int | None}
"""Kinds of the entries of ``model.json``."""
MAX_VALUES = 200_000
"""Largest number of settings in a file, nested ones included; a published model has a few hundred."""
MAX_DEPTH = 20
"""Deepest nesting of a file's settings."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
"""Name of a pretrained model, with or without its owner."""
DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int32,
    torch.int64,
    torch.uint8,
    torch.bool,
)


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """What the files of a model hold, checked; nothing of it was imported or called.

    Attributes:
        source: Folder or name from which the files came.
        entry: Class of the model, a wrapper or a core.
        metadata: Metadata of ``model.json``, empty where it has none.
        state: Weights and buffers by name.
        as_saved: Whether ``state.pt`` holds an ordered dictionary, as MatGL saves it; a plain one was changed since.
        has_byte_order: Whether ``state.pt`` has a record of the byte order, as PyTorch writes since version 2.1.
    """

    source: str
    entry: Entry
    metadata: Mapping[str, Any]
    state: Mapping[str, Tensor]
    as_saved: bool
    has_byte_order: bool

    @property
    def core(self) -> Entry:
        """Class of the graph network: the model itself, or what its wrapper wraps."""
        wraps = role_of(self.entry.name, self.entry.module) == WRAPPER
        return self.entry.args["model"] if wraps else self.entry


def read_files(name_or_path: str | Path) -> ModelFiles:
    """Read and check the files of a model's folder, or of a name on the hub, without importing what they name.

    These are checked: sizes and kinds of the files; checksums of the archives; every ``@class`` and ``@module`` of
    ``model.json`` and ``model.pt``, at any depth, against the classes that models are made of
    (:func:`matgl_fill.adapters.classes.role_of`); that both files describe the same model; that settings are plausible
    (:func:`matgl_fill.adapters.settings.check_settings`); that all weights are finite and dense.

    Args:
        name_or_path: Folder with ``model.pt``, ``state.pt`` and ``model.json``, or name of a pretrained model. What
            exists here or looks like a path is never asked for on the hub.

    Raises:
        ModelError: There is no such model, or one of its files is refused; the text says which, and why.
    """
    source = str(name_or_path)
    contents = {file: _content(path, source) for file, path in _paths(source).items()}
    try:
        described = _read_json(contents["model.json"])
        saved = _read_part("model.pt", contents["model.pt"])
        state = _read_part("state.pt", contents["state.pt"])
        entry = _read_entry(described, saved)
        _check_state(state)
        check_settings(entry, state)
    except (ValueError, RecursionError, MemoryError, OverflowError) as err:
        raise ModelError(
            f"cannot load a MatGL model from '{source}': {str(err) or type(err).__name__}. {AGAIN}"
        ) from err
    as_saved, has_byte_order = isinstance(state, OrderedDict), "byteorder" in record_names(contents["state.pt"])
    return ModelFiles(source, entry, described.get("metadata") or {}, dict(state), as_saved, has_byte_order)


def _paths(source: str) -> dict[str, Path]:
    """Paths of a model's files, from the hub if ``source`` is no path."""
    path = Path(source).expanduser()
    is_name = HUB_NAME.fullmatch(source) and not path.exists() and (len(path.parts) == 1 or not path.parent.exists())
    return files_on_hub(source, FILES) if is_name else {file: path / file for file in FILES}


def _content(path: Path, source: str) -> bytes:
    """Whole content of a file, read once: what is checked is what is used."""
    try:
        if not path.is_file():
            raise ModelError(_absent(path, source))
        if path.stat().st_size > MAX_BYTES[path.name]:
            limit = f"{MAX_BYTES[path.name] // 2**20} MiB, the limit for this file"
            raise ModelError(f"'{path}' is larger than {limit}; give one that MatGL saved.")
        return path.read_bytes()
    except ModelError:
        raise
    except (OSError, ValueError) as err:
        raise ModelError(f"cannot read '{path}': {getattr(err, 'strerror', None) or err}.") from err


def _absent(path: Path, source: str) -> str:
    """What is said of a file that is not there."""
    if not path.parent.exists():
        return f"'{source}' does not exist. {WAY_OUT}"
    inside = Path(source) / "model"  # of the folder of a run
    hint = f"; did you mean '{inside}'?" if (path.parent / "model" / path.name).is_file() else f". {WAY_OUT}"
    return f"no MatGL model in '{source}': {path.name} is missing{hint}"


def _read_json(content: bytes) -> dict[str, Any]:
    """Read ``model.json``.

    Raises:
        ValueError: It is not an object of the form that MatGL writes.
    """
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"model.json is not JSON ({err})") from err
    if not isinstance(described, dict):
        raise ValueError("model.json is no JSON object")
    for key, kind in KINDS.items():
        if not isinstance(described.get(key), kind):
            raise ValueError(f"model.json's '{key}' is missing or has a type that MatGL does not write")
    if not isinstance((described.get("metadata") or {}).get("matgl_fill", {}), dict):
        raise ValueError("model.json's metadata of matgl_fill is no JSON object")
    return described


def _read_part(name: str, content: bytes) -> dict[str, Any]:
    """Read ``model.pt`` or ``state.pt``, which hold one dictionary."""
    try:
        found = read_archive(content, (Normalizer, LogTransformer) if name == "model.pt" else ())
    except ValueError as err:
        raise ValueError(f"{name} is refused: {err}") from err
    if not isinstance(found, dict):
        raise ValueError(f"{name} holds no dictionary")
    return found


def _read_entry(described: dict[str, Any], saved: dict[str, Any]) -> Entry:
    """Class and settings of the model, by ``model.pt``, which MatGL builds from; ``model.json`` has to say the same."""
    head = {key: described.get(key) for key in ("@class", "@module", "@model_version")}
    for key in ("@class", "@module"):
        if saved.get(key, head[key]) != head[key]:
            raise ValueError(f"'{key}' is {saved[key]!r} in model.pt, but {head[key]!r} in model.json")
    settings = {key: value for key, value in saved.items() if not str(key).startswith("@")}
    entry, other = (
        _Reader(file).entry(head | {"init_args": part}, file, 0)
        for file, part in (("model.pt", settings), ("model.json", described.get("kwargs") or {}))
    )
    if other.args and (odd := other.args.keys() ^ entry.args.keys()):
        raise ValueError(f"model.json and model.pt do not describe the same model: only one of them has '{min(odd)}'")
    for key in other.args.keys() & entry.args.keys():
        _compare(other.args[key], entry.args[key], key)
    _check_roles(entry)
    versions = {key: value.version for key, value in other.args.items() if isinstance(value, Entry)}
    inner = {
        k: replace(v, version=v.version or versions.get(k, 0)) for k, v in entry.args.items() if isinstance(v, Entry)
    }
    return replace(entry, args={**entry.args, **inner})


class _Reader:
    """Reader of one file's settings, which turns named classes into entries and refuses all that MatGL never writes."""

    def __init__(self, file: str) -> None:
        self._file, self._left = file, MAX_VALUES

    def value(self, value: Any, where: str, depth: int) -> Any:
        """A setting; ``where`` is its path in the file.

        Raises:
            ValueError: It, or one inside it, is of no kind that MatGL writes, or names a class that models are not
                made of.
        """
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise ValueError(f"{self._file} holds more settings than any model has")
        if isinstance(value, dict):
            if any(isinstance(key, str) and key in ("@class", "@module") for key in value):
                return self.entry(value, where, depth)
            return {self._key(key, where): self.value(v, f"{where}/{key}", depth + 1) for key, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.value(v, f"{where}/{i}", depth + 1) for i, v in enumerate(value))
        if isinstance(value, Normalizer | LogTransformer):
            return self._transformer(value, where, depth)
        _check_leaf(value, where)
        return value

    def entry(self, value: dict[Any, Any], where: str, depth: int) -> Entry:
        """A class with its arguments."""
        name, module, version = value.get("@class"), value.get("@module"), value.get("@model_version") or 0
        if not isinstance(name, str) or not isinstance(module, str) or role_of(name, module) is None:
            raise ValueError(
                f"{where} names {module}.{name}, which is not a class of MatGL's models; nothing was imported or run"
            )
        args = value.get("init_args")
        if not isinstance(args, dict) or not isinstance(version, int):
            raise ValueError(f"{where} names {module}.{name} without arguments or with a wrong version")
        for key in value.keys() - {"@class", "@module", "@model_version", "init_args"}:
            self.value(value[key], f"{where}/{key}", depth + 1)
        read = {self._key(key, where): self.value(v, f"{where}/{key}", depth + 1) for key, v in args.items()}
        return Entry(name, module, version, read)

    def _transformer(self, value: Any, where: str, depth: int) -> Entry:
        """A pickled target transformer as the entry that makes it."""
        args = {key: float(v) if isinstance(v, Tensor) and v.numel() == 1 else v for key, v in vars(value).items()}
        saved = {"@class": type(value).__name__, "@module": "matgl.data.transformer", "init_args": args}
        return self.entry(saved, where, depth)

    def _key(self, key: Any, where: str) -> str:
        if not isinstance(key, str):
            raise ValueError(f"{where} holds a name that is no text ({key!r:.40})")
        return key


def _check_leaf(value: Any, where: str) -> None:
    """Refuse anything but finite numbers, short texts, types of numbers, tensors and arrays."""
    if isinstance(value, Tensor):
        _check_tensor(value, where)
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub" or value.nbytes > MAX_BYTES["model.pt"] or not np.isfinite(value).all():
            raise ValueError(f"{where} holds an array that is not of finite numbers")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}; a finite number is needed")
    elif not (value is None or type(value) in (bool, int, float, str, torch.dtype)):
        raise ValueError(f"{where} holds a {type(value).__name__}, which MatGL never writes")


def _check_tensor(tensor: Tensor, where: str) -> None:
    """Refuse tensors that are not dense, larger than what is stored of them, or not finite."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in DTYPES:
        raise ValueError(f"{where} is no dense tensor of numbers")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{where} has more numbers than the file holds of it")
    if tensor.is_floating_point() and not math.isfinite(tensor.sum(dtype=torch.float64)):
        raise ValueError(f"{where} is not finite (NaN or infinite numbers)")


def _check_state(state: dict[str, Any]) -> None:
    """Refuse anything but finite, dense tensors by name.

    Raises:
        ValueError: One is not; the text says which.
    """
    total = 0
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"state.pt's entry {name!r:.60} is no named tensor")
        total += tensor.numel() * tensor.element_size()
        if total > MAX_BYTES["state.pt"]:
            raise ValueError("state.pt holds more numbers than its size allows")
        _check_tensor(tensor, f"state.pt's {name}")
        if name.endswith(("weight", "bias")) and not tensor.is_floating_point():
            raise ValueError(f"state.pt's {name} is of type {tensor.dtype}; weights have to be floating-point numbers")


def _compare(described: Any, saved: Any, where: str) -> None:
    """Refuse a setting of ``model.json`` that is not ``model.pt``'s; JSON holds objects as texts, which say nothing.

    Raises:
        ValueError: They differ.
    """
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(saved, Entry) and isinstance(described, Entry):
        same = (described.name, described.module) == (saved.name, saved.module)
        pairs = _pairs(described.args, saved.args)
    elif isinstance(saved, dict) and isinstance(described, dict):
        same, pairs = True, _pairs(described, saved)
    elif isinstance(saved, list | tuple) and isinstance(described, list):
        same = len(saved) == len(described)
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(described, saved, strict=False))]
    elif isinstance(saved, Tensor | np.ndarray | torch.dtype | Entry):
        same = isinstance(described, str)
    else:
        same = type(described) is type(saved) and described == saved
    if not same:
        raise ValueError(f"model.json and model.pt do not describe the same model: they differ in '{where}'")
    for key, first, second in pairs:
        _compare(first, second, f"{where}/{key}")


def _pairs(described: Mapping[str, Any], saved: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(key, described[key], saved[key]) for key in described.keys() & saved.keys()]


def _check_roles(entry: Entry) -> None:
    """Refuse a model that is no core and no wrapper of one.

    Raises:
        ValueError: It is not.
    """
    role, inner = role_of(entry.name, entry.module), entry.args.get("model")
    wraps_core = isinstance(inner, Entry) and role_of(inner.name, inner.module) == CORE
    if role not in (CORE, WRAPPER) or (role == WRAPPER and not wraps_core):
        raise ValueError(f"model.json names {entry.module}.{entry.name}, which is neither a model nor a wrapper of one")
    target = entry.args.get("target_transformer")
    if target is not None and not (isinstance(target, Entry) and role_of(target.name, target.module) == TRANSFORMER):
        raise ValueError("the transformer of the target is not one of MatGL's")
